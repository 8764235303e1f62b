"""Somebody who speaks to the destination in his own way."""

from __future__ import annotations

import socket
from typing import Any, Final

from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.protocol.frames import HEADER, Kind
from tests.tunnel.stage.program import Program
from tests.tunnel.stage.sockets import pair
from tests.tunnel.stage.stage import Stage

#: What a source of this release offers, as it stands on the wire.
OFFER: Final[dict[str, object]] = {"lowest": 1, "highest": 1, "features": ""}
#: And what a destination of this release answers.
AGREED: Final[dict[str, object]] = {"version": 1, "features": ""}


class Stranger:
    """Somebody who speaks to the destination in his own way: boxes, frames, or anything else."""

    def __init__(self, stage: Stage, sock: socket.socket | None = None, address: Any = None, caller: Caller | None = None) -> None:
        """``caller`` is one that has proved itself to the destination before."""
        if caller is not None:
            sock, theirs = pair()
            theirs.setblocking(False)
            stage.destination.arrived(theirs, caller)
        self.sock = sock or stage.cable.dial(address=address)
        self.program = Program(stage.crank, self.sock)
        stage.near_programs.append(self.program)
        self._stage = stage

    def say(self, data: bytes) -> Stranger:
        self.program.send(data)
        self._stage.rest()
        return self

    def ask(self, command: str, **values: object) -> Stranger:
        return self.say(box(_command=command, _ask="1", **values))

    def open(self, ident: bytes = b"i" * 16, target: str = "disk", window: int = 1 << 18, **more: object) -> Stranger:
        return self.ask("OpenChannel", **OFFER | {"channel": ident, "target": target, "window": window} | more)

    def resume(self, ident: bytes = b"i" * 16, received: int = 0, **more: object) -> Stranger:
        return self.ask("ResumeChannel", **OFFER | {"channel": ident, "received": received} | more)

    def hear_box(self) -> dict[str, bytes]:
        """The next box that came."""
        values: dict[str, bytes] = {}
        while (key := self._string()) is not None and key:
            values[key.decode()] = self._string() or b""
        return values

    def hear_frames(self) -> list[tuple[Kind, int, bytes]]:
        """All frames that came whole."""
        heard = []
        got = self.program.got
        while len(got) >= HEADER.size:
            kind, length, offset = HEADER.unpack_from(got)
            heard.append((Kind(kind), offset, bytes(got[HEADER.size : HEADER.size + length])))
            del got[: HEADER.size + length]
        return heard

    @property
    def closed(self) -> bool:
        """Whether the destination has closed the connection."""
        return self.program.got_end or self.program.gone is not None

    def hang_up(self) -> None:
        self.program.close()
        self._stage.rest()

    def _string(self) -> bytes | None:
        got = self.program.got
        if len(got) < 2:
            return None
        length = int.from_bytes(got[:2], "big")
        value = bytes(got[2 : 2 + length])
        del got[: 2 + length]
        return value


def box(**values: object) -> bytes:
    """An AMP box."""
    pairs = [(key.encode(), value if isinstance(value, bytes) else str(value).encode()) for key, value in values.items()]
    strings = [part for pair in pairs for part in pair]
    return b"".join(len(part).to_bytes(2, "big") + part for part in strings) + b"\0\0"
