"""Who uses a wire."""

from __future__ import annotations

from nbdtun.tunnel.wires.plain import Wire


class User:
    """Sends all it has, reads all there is, and notes what it was told."""

    def __init__(self, piece: int = 1 << 20) -> None:
        self.wire: Wire
        self.to_send = b""
        self.got = bytearray()
        self.ended = False
        self.lost: Exception | None = None
        self.writable = 0
        self.tries: list[tuple[int, int]] = []
        self._buffer = memoryview(bytearray(piece))

    def wire_readable(self) -> None:
        count = self.wire.read_into(self._buffer)
        if count == 0:
            self.ended = True
            self.wire.listen(False)
        elif count:
            self.got += self._buffer[:count]

    def wire_writable(self) -> None:
        self.writable += 1
        self.send()

    def send(self) -> None:
        while self.to_send and not self.wire.closed:
            count = self.wire.write(memoryview(self.to_send)[: 1 << 20])
            self.tries.append((len(self.to_send), count))
            self.to_send = self.to_send[count:]
            if not count:
                self.wire.want_room()
                return

    def wire_lost(self, reason: Exception) -> None:
        assert not self.wire.closed
        self.lost = reason
        self.wire.close()
