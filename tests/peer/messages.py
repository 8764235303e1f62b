"""Messages: boxes of fields, as openings and control channels have them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Value = bytes | str | bool | int | Sequence[Mapping[str, "Value"]]
Box = dict[str, bytes]
MOST_FIELDS = 32


class Violation(Exception):
    """The other end does what the specification forbids."""


class Refused(Exception):
    """A question was answered with an error."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{description} [{code}]")
        self.code, self.description = code, description


def value(of: Value) -> bytes:
    """One value, as it is on the wire."""
    if isinstance(of, bytes):
        return of
    if isinstance(of, str):
        return of.encode()
    if isinstance(of, bool | int):
        return b"%d" % of if not isinstance(of, bool) else str(of).encode()
    return b"".join(pack(**each) for each in of)


def pack(**fields: Value) -> bytes:
    """One box."""
    parts = []
    for name, content in fields.items():
        key, text = name.encode(), value(content)
        parts += [struct.pack("!H", len(key)), key, struct.pack("!H", len(text)), text]
    return b"".join(parts) + b"\0\0"


def read(exactly: Callable[[int], bytes]) -> Box:
    """The next box of a stream."""
    box: Box = {}
    while length := _number(exactly(2)):
        if length > 255:
            raise Violation(f"a key of {length} bytes")
        key = exactly(length).decode(errors="backslashreplace")
        if key in box or len(box) == MOST_FIELDS:
            raise Violation(f"the field {key} too much")
        box[key] = exactly(_number(exactly(2)))
    if sum(key in box for key in ("_command", "_answer", "_error")) != 1:
        raise Violation("a box that is not one of question, answer and error")
    return box


def boxes(listed: bytes) -> list[Box]:
    """The boxes of a list."""
    found, at = [], 0
    while at < len(listed):
        box: Box = {}
        while length := _number(listed[at : at + 2]):
            key = listed[at + 2 : at + 2 + length].decode()
            at += 2 + length
            end = at + 2 + _number(listed[at : at + 2])
            box[key], at = listed[at + 2 : end], end
        at += 2
        found.append(box)
    return found


def number(box: Box, name: str, lowest: int = 0, highest: int = 1 << 63) -> int:
    """A field of digits."""
    text = box.get(name, b"")
    if not (text.isdigit() and len(text) <= 20 and lowest <= int(text) <= highest):
        raise Refused("protocol", f"{name} is {text!r}")
    return int(text)


def text(box: Box, name: str) -> str:
    """A field of printable characters."""
    try:
        found = box[name].decode()
    except (KeyError, UnicodeDecodeError):
        raise Refused("protocol", f"{name} is missing or no text") from None
    if not found.isprintable():
        raise Refused("protocol", f"{name} cannot be printed")
    return found


def flag(box: Box, name: str) -> bool:
    """A field that is true or not."""
    try:
        return {b"True": True, b"False": False}[box[name]]
    except KeyError:
        raise Refused("protocol", f"{name} is neither True nor False") from None


def error(ask: bytes, code: str, description: str) -> bytes:
    """The answer to a question that failed."""
    return pack(_error=ask, _error_code=code, _error_description=description)


def refusal(box: Box) -> Refused:
    """What such an answer means."""
    return Refused(text(box, "_error_code"), text(box, "_error_description"))


@dataclass(frozen=True)
class Release:
    """The versions and features of one end."""

    lowest: int = 1
    highest: int = 1
    features: tuple[str, ...] = ()

    def offer(self) -> dict[str, Value]:
        """The fields of a question."""
        return {"lowest": self.lowest, "highest": self.highest, "features": " ".join(self.features)}

    def choose(self, box: Box) -> dict[str, Value]:
        """The fields of the answer."""
        low, high = number(box, "lowest", 1, 65535), number(box, "highest", 1, 65535)
        if low > high:
            raise Refused("protocol", f"versions {low} to {high}")
        if low > self.highest or high < self.lowest:
            older = "the source" if high < self.lowest else "the destination"
            raise Refused("version", f"{low} to {high} is offered, {self.lowest} to {self.highest} spoken: {older} needs a newer release")
        common = [name for name in text(box, "features").split(" ") if name in self.features]
        return {"version": min(high, self.highest), "features": " ".join(common)}

    def accept(self, box: Box) -> int:
        """The version that an answer has chosen."""
        chosen = number(box, "version")
        if not self.lowest <= chosen <= self.highest:
            raise Violation(f"version {chosen} was not offered")
        if not set(text(box, "features").split()) <= set(self.features):
            raise Violation("a feature that was not offered")
        return chosen


def _number(two: bytes) -> int:
    found: int = struct.unpack("!H", two)[0]
    return found
