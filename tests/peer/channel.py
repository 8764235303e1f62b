"""One end of a channel: two streams that outlive their links. A link has two threads: one speaks, one hears."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from tests.peer import frames
from tests.peer.messages import Refused, Violation
from tests.peer.streams import PIECE, Incoming, Outgoing
from tests.peer.wire import LINK_TIMEOUT, Lost, Wire

WINDOW = 16 << 20
LEAST_WINDOW = 65536


class Over(Exception):
    """The channel has ended: with the code `complete`, or for a reason."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{reason} [{code}]")
        self.code, self.reason = code, reason


class Channel:
    """`write`, `end`, `read` and `wrote` are the local program's; `attach` and `detach` those who make its links."""

    def __init__(self, *, destination: bool, window: int = WINDOW) -> None:
        self.window = window
        self.links = 0
        self.over: Over | None = None
        self.changed = threading.Condition()
        self._destination = destination
        self._out, self._in = Outgoing(), Incoming()
        self._wire: Wire | None = None
        self._stated = 0
        self._acked_here = -1
        self._extra: list[bytes] = []

    # The local program's side.

    def write(self, data: bytes) -> None:
        """Send it, when there is room in the window."""
        while data:
            with self.changed:
                self.changed.wait_for(lambda: self.over or self._out.kept < self.window)
                self._check()
                room = self.window - self._out.kept
                self._out.add(data[:room])
                data = data[room:]
                self.changed.notify_all()

    def end(self) -> None:
        """Nothing follows from here."""
        with self.changed:
            self._check()
            self._out.ended = True
            self.changed.notify_all()

    def read(self, most: int = PIECE) -> bytes:
        """The next bytes, empty at the end of the stream. They count as unwritten until `wrote`."""
        with self.changed:
            self.changed.wait_for(lambda: self._in.unread or self._in.ended or self.over)
            if not self._in.unread and not self._in.ended:
                self._check()
            return self._in.take(most)

    def wrote(self, count: int) -> None:
        """So many more bytes are in the kernel; 1 for the end, when the local half is closed."""
        with self.changed:
            self._in.written += count
            self.changed.notify_all()

    def exactly(self, count: int) -> bytes:
        """The next bytes, all of them, and written."""
        parts = []
        while count:
            part = self.read(count)
            if not part:
                raise Lost("the stream has ended")
            self.wrote(len(part))
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def rest(self) -> bytes:
        """All bytes to the end of the stream, written, and the end with them."""
        parts = []
        while part := self.read():
            self.wrote(len(part))
            parts.append(part)
        self.wrote(1)
        return b"".join(parts)

    def say(self, sent: bytes) -> None:
        """Send frames of a test's own, ahead of what is due."""
        with self.changed:
            self._extra.append(sent)
            self.changed.notify_all()

    def reset(self, code: str, reason: str) -> None:
        """Give it up; the other end is told by this link or, from a source, by the next one."""
        with self.changed:
            if self.over is None:
                self._extra = [frames.reset(code, reason)]
                self._stop(code, reason)

    def wait_over(self, timeout: float = 30) -> Over:
        """Wait for its end."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.over, timeout) or self.over is None:
                raise TimeoutError("the channel has not ended")
            return self.over

    def splice(self, local: socket.socket, ended: Callable[[], None] = lambda: None) -> None:
        """Join it to a local connection, in two threads."""

        def inward() -> None:
            try:
                while data := self.read():
                    local.sendall(data)
                    self.wrote(len(data))
                with suppress(OSError):
                    local.shutdown(socket.SHUT_WR)
                self.wrote(1)
            except OSError as error:
                self.reset("reset", f"the local program: {error.strerror}")
            except Over:
                pass
            with suppress(TimeoutError):
                self.wait_over(600)
            with suppress(OSError):
                local.shutdown(socket.SHUT_RDWR)
            local.close()
            ended()

        def outward() -> None:
            try:
                while data := _received(local):
                    self.write(data)
                self.end()
            except Over:
                pass

        _thread(inward)
        _thread(outward)

    # The side of its links.

    @property
    def linked(self) -> bool:
        """Whether it has a link."""
        return self._wire is not None

    @property
    def complete(self) -> bool:
        """Whether both streams are done, as far as this end knows."""
        return self._out.done and self._in.done

    def wait_severed(self) -> bool:
        """Wait until it has no link; whether it needs another one: it goes on, or is given up and the other end does not know yet."""
        with self.changed:
            self.changed.wait_for(lambda: self._wire is None or (self.over and not self._extra))
            return self.over is None or bool(self._extra)

    def state(self, received: int | None = None) -> int:
        """Drop the present link; the bytes received, which a resume states. `received`: what the other end has stated in its own."""
        with self.changed:
            if received is not None:
                if received < max(self._stated, self._out.acked):
                    raise Refused("resume-refused", "an old resume")
                self._out.check(received)
            self.detach(self._wire)
            self._stated = received or self._stated
            return self._in.received

    def attach(self, wire: Wire, received: int) -> None:
        """A new link, on which the other end has said that it has received so much."""
        with self.changed:
            self._out.begin(received)
            self._acked_here = -1
            if self.over is None:
                self._extra = []
            self._wire = wire
            self.links += 1
            wire.patience()
        _thread(lambda: self._hear(wire))
        _thread(lambda: self._speak(wire))

    def detach(self, wire: Wire | None) -> None:
        """That one is no link any more."""
        with self.changed:
            if wire is not None and wire is self._wire:
                self._wire = None
                wire.close()
            self.changed.notify_all()

    def stop(self, code: str, reason: str) -> None:
        """The other end knows already that it is over."""
        with self.changed:
            self._stop(code, reason)

    def _stop(self, code: str, reason: str) -> None:
        if self.over is None:
            self.over = Over(code, reason)
        self.changed.notify_all()

    def _check(self) -> None:
        if self.over is not None:
            raise self.over

    def _hear(self, wire: Wire) -> None:
        try:
            while True:
                kind, length, offset = frames.parse(wire.exactly(16))
                if kind in (frames.DATA, frames.ASK):
                    self._data(wire, offset, length)
                else:
                    payload = wire.exactly(length)
                    with self.changed:
                        self._frame(wire, kind, offset, payload)
        except Violation as error:
            self.reset("protocol", str(error))
        except Lost:
            self.detach(wire)

    def _data(self, wire: Wire, offset: int, length: int) -> None:
        while length:
            piece = wire.some(length)
            with self.changed:
                self._present(wire)
                self._in.add(offset, piece, self.window)
                self.changed.notify_all()
            offset, length = offset + len(piece), length - len(piece)

    def _frame(self, wire: Wire, kind: int, offset: int, payload: bytes) -> None:
        self._present(wire)
        if kind == frames.ACK:
            self._out.acknowledge(offset)
        elif kind == frames.FIN:
            self._in.end(offset)
        elif kind == frames.RESET:
            self._stop(*frames.reason(payload))
        elif kind == frames.PING:
            self._extra.append(frames.frame(frames.PONG, offset))
        elif kind == frames.BYE:
            if self._destination or not self.complete:
                raise Violation("BYE too early")
            self._stop("complete", "both directions have ended")
        self.changed.notify_all()

    def _present(self, wire: Wire) -> None:
        if wire is not self._wire:
            raise Lost("another link has taken its place")

    def _speak(self, wire: Wire) -> None:
        spoken = time.monotonic()
        try:
            while True:
                with self.changed:
                    due, last = self._due(wire)
                    if not due and not last:
                        self.changed.wait(LINK_TIMEOUT / 3)
                        if time.monotonic() - spoken > LINK_TIMEOUT / 3 - 0.1:
                            due = frames.frame(frames.PING)
                if due:
                    wire.send(due)
                    spoken = time.monotonic()
                if last:
                    wire.finish()
                    return
        except Lost:
            self.detach(wire)

    def _due(self, wire: Wire) -> tuple[bytes, bool]:
        """What is to be sent next, and whether it is the last."""
        if wire is not self._wire:
            return b"", True
        told, self._extra = b"".join(self._extra), []
        if self.over is not None:
            return told, True
        if self._in.written > self._acked_here:
            self._acked_here = self._in.written
            told = frames.frame(frames.ACK, self._acked_here) + told
        if self._destination and self.complete:
            self._stop("complete", "both directions have ended")
            return told + frames.frame(frames.BYE), True
        return told + self._out.due(), False


def _received(local: socket.socket) -> bytes:
    try:
        return local.recv(PIECE)
    except OSError:
        return b""


def _thread(run: Callable[[], None]) -> None:
    threading.Thread(target=run, daemon=True).start()
