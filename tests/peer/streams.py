"""The two streams of a channel, as one end keeps them. A `FIN` counts like one more byte."""

from __future__ import annotations

from tests.peer import frames
from tests.peer.messages import Violation

PIECE = 1 << 18


class Outgoing:
    """What this end has to send: kept until it is acknowledged."""

    def __init__(self) -> None:
        self.acked = 0
        self.ended = False
        self._kept = bytearray()
        self._base = 0
        self._sent = 0
        self._most_sent = 0

    @property
    def kept(self) -> int:
        """Bytes that count for the window."""
        return len(self._kept)

    @property
    def length(self) -> int:
        """Bytes of the stream so far."""
        return self._base + len(self._kept)

    @property
    def done(self) -> bool:
        """Whether all of it is acknowledged, its end too."""
        return self.ended and self.acked == self.length + 1

    def add(self, data: bytes) -> None:
        """More of it."""
        self._kept += data

    def check(self, received: int) -> None:
        """Whether so much can have arrived."""
        if not self.acked <= received <= self._most_sent:
            raise Violation(f"{received} bytes received of {self._most_sent}")

    def begin(self, received: int) -> None:
        """A new link, and so much has arrived over the ones before."""
        self.check(received)
        self._sent = received

    def due(self) -> bytes:
        """The next frame to send; empty if there is none."""
        if self._sent < self.length:
            at = self._sent - self._base
            piece = bytes(self._kept[at : at + PIECE])
            made = frames.frame(frames.DATA, self._sent, piece)
            self._sent += len(piece)
        elif self.ended and self._sent == self.length:
            made = frames.frame(frames.FIN, self._sent)
            self._sent += 1
        else:
            return b""
        self._most_sent = max(self._most_sent, self._sent)
        return made

    def acknowledge(self, count: int) -> None:
        """The other end has written so much."""
        if count > self._most_sent:
            raise Violation(f"{count} bytes acknowledged of {self._most_sent}")
        if count > self.acked:
            self.acked = count
            gone = min(count, self.length) - self._base
            del self._kept[:gone]
            self._base += gone


class Incoming:
    """What comes from the other end, until it is written."""

    def __init__(self) -> None:
        self.received = 0
        self.written = 0
        self.ended = False
        self._unread = bytearray()

    @property
    def done(self) -> bool:
        """Whether all of it is written, and its end too."""
        return self.ended and self.written == self.received

    @property
    def unread(self) -> int:
        """Bytes that nobody has taken yet."""
        return len(self._unread)

    def add(self, offset: int, data: bytes, window: int) -> None:
        """The next bytes."""
        if self.ended or offset != self.received:
            raise Violation(f"data at {offset}, not at {self.received}")
        self.received += len(data)
        if self.received - self.written > window:
            raise Violation(f"more than {window} bytes unwritten")
        self._unread += data

    def end(self, length: int) -> None:
        """Nothing follows."""
        if self.ended or length != self.received:
            raise Violation(f"the end at {length}, not at {self.received}")
        self.ended = True
        self.received += 1

    def take(self, most: int) -> bytes:
        """The next bytes for the local program."""
        taken = bytes(self._unread[:most])
        del self._unread[:most]
        return taken
