"""
The arguments of the control channel's commands. Each has a bound, which is checked before anything is used that a peer has sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.protocols import amp

from nbdtun.errors import ProtocolViolation
from nbdtun.migration.vm.disks import MAX_DISKS

MAX_KEYS = 16
MAX_ERROR = 4000
MAX_BYTES = 1 << 63


def refuse(reason: str) -> amp.RemoteAmpError:
    """What to raise when a peer has sent nonsense."""
    return amp.RemoteAmpError(ProtocolViolation.code.encode(), reason, fatal=True)


class Text(amp.Argument):
    """UTF-8 text of at most ``limit`` printable characters."""

    def __init__(self, limit: int = 255, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self.limit = limit

    def fromString(self, data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        if len(text) > self.limit or not text.isprintable():
            raise refuse(f"a text of {len(text)} characters, or with unprintable ones, where {self.limit} are allowed")
        return text

    def toString(self, text: str) -> bytes:
        return "".join(c if c.isprintable() else " " for c in text[: self.limit]).encode()


class Number(amp.Argument):
    """A number from 0 to ``limit``."""

    def __init__(self, limit: int = MAX_BYTES, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self.limit = limit

    def fromString(self, data: bytes) -> int:
        if len(data) > 20 or not data.isdigit() or int(data) > self.limit:
            raise refuse(f"not a number from 0 to {self.limit}")
        return int(data)

    def toString(self, number: int) -> bytes:
        return b"%d" % number


class Rows(amp.AmpList):
    """A list of at most ``limit`` boxes."""

    def __init__(self, subargs: Sequence[tuple[bytes, amp.Argument]], limit: int = MAX_DISKS) -> None:
        super().__init__(list(subargs))
        self.limit = limit

    def fromStringProto(self, data: bytes, proto: Any) -> list[dict[str, Any]]:
        if data.count(b"\x00\x00") > self.limit * MAX_KEYS:
            raise refuse("too long a list")
        try:
            rows: list[dict[str, Any]] = super().fromStringProto(data, proto)
        except (AttributeError, KeyError, ValueError) as nonsense:  # the first: AMP's parser wants to close what has no connection
            raise refuse("not a list") from nonsense
        if len(rows) > self.limit:
            raise refuse(f"more than {self.limit} of them")
        return rows
