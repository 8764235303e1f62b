"""Who wants to know what a link said."""

from __future__ import annotations

from nbdtun.tunnel.protocol.frames import MAX_DATA


class Heard:
    """Notes what a decoder says; pieces of one payload are one again, where they are ``merging``."""

    def __init__(self, *, merging: bool = True) -> None:
        self._merging = merging
        self.said: list[tuple[object, ...]] = []

    def data_received(self, offset: int, piece: memoryview) -> None:
        assert 0 < len(piece) <= MAX_DATA
        last = self.said[-1] if self.said and self._merging else ()
        if last and last[0] == "data" and isinstance(last[1], int) and isinstance(last[2], bytes) and last[1] + len(last[2]) == offset:
            self.said[-1] = ("data", last[1], last[2] + piece)
        else:
            self.said.append(("data", offset, bytes(piece)))

    def ack_asked(self, offset: int) -> None:
        self.said.append(("ask", offset))

    def ack_received(self, offset: int) -> None:
        self.said.append(("ack", offset))

    def fin_received(self, offset: int) -> None:
        self.said.append(("fin", offset))

    def reset_received(self, code: str, reason: str) -> None:
        self.said.append(("reset", code, reason))

    def bye_received(self) -> None:
        self.said.append(("bye",))

    def ping_received(self, token: int) -> None:
        self.said.append(("ping", token))

    def pong_received(self, token: int) -> None:
        self.said.append(("pong", token))
