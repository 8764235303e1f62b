"""A gate before a QEMU's monitor: commands of one name are held back until it is opened, and answers can be withheld.

It makes a step of a migration last as long as a test needs, without a clock.
"""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from lab.process import wait


def _deaf(to_qemu: bool, data: bytes) -> None:
    """Hear nothing."""


class Gate:
    """Listens at `path` for QMP clients and passes all on to `monitor`, but for `held`."""

    def __init__(
        self, path: Path, monitor: Path, held: str, nth: int = 1, *, loses: bool = False, hears: Callable[[bool, bytes], object] = _deaf
    ) -> None:
        """
        The first `nth` - 1 of those commands pass. One that `loses` it never answers that one, and lets all others pass.

        `hears` is called with all that passes: whether it goes to QEMU, and the bytes.
        """
        self._loses = loses
        self._hears = hears
        self.path = path
        self._aside = path.with_suffix(".aside")
        self._before = nth - 1
        self._monitor = monitor
        self._held = held
        self._came = threading.Event()
        self._open = threading.Event()
        self._mute = threading.Event()
        self._ends: list[socket.socket] = []
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(f"{path}")
        self._server.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def wait_held(self, timeout: float = 120) -> None:
        """Wait until the command is before the gate."""
        wait(self._came.is_set, timeout, f"{self._held} before the gate")

    def open(self) -> None:
        """Let it pass, and all that come later."""
        self._open.set()

    def mute(self) -> None:
        """From now on QEMU hears what it is told, and nobody hears QEMU; what it says is lost."""
        self._mute.set()

    def unmute(self) -> None:
        """It is heard again."""
        self._mute.clear()

    def drop(self) -> None:
        """Hang up at both sides, as QEMU sees it when its client has died; what is held back is lost."""
        for end in self._ends:
            _shut(end)

    def refuse(self) -> None:
        """Refuse everybody from now on, as the socket of a QEMU that has ended."""
        self.path.rename(self._aside)

    def admit(self) -> None:
        """Refuse nobody any more."""
        if self._aside.exists():
            self._aside.rename(self.path)

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return  # closed
            server = socket.socket(socket.AF_UNIX)
            self._ends += [client, server]
            try:
                server.connect(f"{self._monitor}")
            except OSError:
                client.close()
                continue
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        """The client's commands; whole ones only, and they may come without a newline."""
        text, decoder = "", json.JSONDecoder()
        while data := _read(client):
            text += data.decode()
            while text := text.lstrip():
                try:
                    command, end = decoder.raw_decode(text)
                except ValueError:
                    break  # there is more to come of it
                name = command.get("execute") or command.get("exec-oob")
                if name != self._held or not self._lose():
                    if name == self._held and not self._hold(client):
                        break  # nobody wants it any more
                    self._hears(True, text[:end].encode())
                    _send(server, text[:end].encode())
                text = text[end:]
        _shut(server)

    def _lose(self) -> bool:
        """Whether the command is lost, as one is."""
        if not self._loses or self._before or self._came.is_set():
            return False
        self._came.set()
        self._open.set()
        return True

    def _hold(self, client: socket.socket) -> bool:
        """Wait until the gate is open, which is True, or its client has gone."""
        if self._before:
            self._before -= 1
            return True
        self._came.set()
        while not self._open.wait(0.05):
            if _gone(client):
                return False
        return True

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        while data := _read(server):
            if not self._mute.is_set():
                self._hears(False, data)
                _send(client, data)
        _shut(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for end in self._ends:
            _shut(end)
            end.close()


def _gone(end: socket.socket) -> bool:
    """Whether the other end is closed, though there may be more to read of it."""
    poll = select.poll()
    poll.register(end, select.POLLRDHUP)
    return bool(poll.poll(0))


def _read(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""


def _send(end: socket.socket, data: bytes) -> None:
    try:
        end.sendall(data)
    except OSError:
        return  # its reader notices


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it is already
