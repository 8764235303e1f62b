"""A sluice before a libvirtd: messages of one procedure are held back, or come to nothing, whole ones only.

It makes a step of a libvirt migration last as long as a test needs, without a clock.
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Self

from lab.libvirt_calls import HEADER
from lab.process import Process, wait

PREPARE, FINISH = 303, 306
"""The calls of a peer-to-peer migration (libvirt's src/remote/remote_protocol.x)."""

CALL, REPLY = 0, 1


class Sluice:
    """Listens at `path`, and passes all on to `libvirtd`, but for what is `held`: a procedure and whether it is the call, or its answer."""

    def __init__(self, path: Path, libvirtd: Path) -> None:
        self.path = path
        self._libvirtd = libvirtd
        self._held: tuple[int, int] | None = None
        self._came = threading.Event()
        self._open = threading.Event()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(f"{path}")
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def hold(self, procedure: int, kind: int = CALL) -> None:
        """Hold the next one of these back."""
        self._came.clear()
        self._open.clear()
        self._held = procedure, kind

    def wait_held(self, timeout: float = 120, sender: Process | None = None) -> None:
        """Wait until it has come; `sender`, from whom it comes, must live on."""
        wait(self._came.is_set, timeout, f"{self._held} before the sluice", sender)

    def open(self) -> None:
        """Let it pass, and all that come later."""
        self._held = None
        self._open.set()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return  # closed
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(f"{self._libvirtd}")
            except OSError:
                near.close()
                continue
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        kept = b""
        with suppress(OSError):
            while data := source.recv(1 << 20):
                kept += data
                while len(kept) >= 4 and len(kept) >= (size := int.from_bytes(kept[:4], "big")):
                    self._wait(kept[:size], source, sink)
                    sink.sendall(kept[:size])
                    kept = kept[size:]
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _wait(self, message: bytes, *ends: socket.socket) -> None:
        """Hold it back until the sluice is open; OSError if one of the ends has gone."""
        _, program, _, procedure, kind, _, _ = HEADER.unpack_from(message)
        if (procedure, kind) != self._held or program != 0x20008086:
            return
        self._came.set()
        while not self._open.wait(0.05):
            if any(map(_gone, ends)):
                raise BrokenPipeError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()


def _gone(end: socket.socket) -> bool:
    """Whether the other end is closed, though there may be more to read of it."""
    poll = select.poll()
    poll.register(end, select.POLLRDHUP)
    return bool(poll.poll(0))
