"""
Sizes and durations, as operators write and read them.

Units follow ``dd``: ``k``, ``M``, ``G``, ``T``, with or without ``iB``, count in 1024s as QEMU does; ``kB``, ``MB``, ``GB``, ``TB`` in
1000s. Case does not matter. A bare number is bytes, or seconds. The parsers read what :func:`size_text` and :func:`duration_text` print.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from nbdtun.errors import ConfigError

_PREFIXES: Final = "kmgtpe"
_SIZE: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgtpe]?)(ib|b)?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zµ]*)\s*", re.IGNORECASE)
_SECONDS: Final = {
    **dict.fromkeys(("us", "µs"), Decimal("0.000001")),
    "ms": Decimal("0.001"),
    **dict.fromkeys(("", "s", "sec", "second", "seconds"), Decimal(1)),
    **dict.fromkeys(("m", "min", "minute", "minutes"), Decimal(60)),
    **dict.fromkeys(("h", "hour", "hours"), Decimal(3600)),
    **dict.fromkeys(("d", "day", "days"), Decimal(86400)),
}
_MOST: Final = 10**6
_MOST_BYTES: Final = 2**63 - 1
_MOST_SECONDS: Final = 10**9


def parse_size(text: str) -> int:
    """
    ``500MiB``, ``1GiB``, ``10G``, ``64k``, ``1.5 GiB``, ``4096``: bytes, fractions rounded down.

    :raise ConfigError: it is not a size, or is 8 EiB or more.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is not a size such as 64KiB, 500MiB or 10G")
    number, prefix, suffix = match.groups(default="")
    base = 1000 if prefix and suffix.lower() == "b" else 1024
    power = _PREFIXES.index(prefix.lower()) + 1 if prefix else 0
    size = int(Decimal(number) * base**power)
    if size > _MOST_BYTES:
        raise ConfigError(f"{text!r} is more than 8 EiB")
    return size


def parse_count(text: str) -> int:
    """
    ``1``, ``1024``: a limit of how many.

    :raise ConfigError: it is not a whole number from 1 to a million.
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 7 and 1 <= int(digits) <= _MOST):
        raise ConfigError(f"{text!r} is not a number from 1 to {_MOST}")
    return int(digits)


def parse_rate(text: str) -> int:
    """
    A size per second, with or without ``/s`` at its end: bytes per second.

    :raise ConfigError: it is not a size.
    """
    return parse_size(text.strip().removesuffix("/s"))


def parse_duration(text: str) -> float:
    """
    ``300ms``, ``2s``, ``5min``, ``1h``, ``1 min 30 s``, ``0.5``: seconds.

    :raise ConfigError: it is not a duration, or is more than 30 years.
    """
    parts = _NUMBER.findall(text.strip())
    whole = "".join(match.group(0) for match in _NUMBER.finditer(text.strip()))
    if not parts or whole != text.strip() or any(unit.lower() not in _SECONDS for _, unit in parts) or _lacks_units(parts):
        raise ConfigError(f"{text!r} is not a duration such as 300ms, 2s or 5min")
    seconds = sum(Decimal(number) * _SECONDS[unit.lower()] for number, unit in parts)
    if seconds > _MOST_SECONDS:
        raise ConfigError(f"{text!r} is more than 30 years")
    return float(seconds)


def _lacks_units(parts: list[tuple[str, str]]) -> bool:
    """``1 30``, and ``1 min 30``, are typing errors, not sums."""
    return len(parts) > 1 and any(not unit for _, unit in parts)


def size_text(size: float) -> str:
    """``size`` bytes, with three or four digits: ``512 B``, ``1.5 GiB``, ``10 GiB``."""
    if size < 1000:
        return f"{size:.0f} B"
    for prefix in "KMGTPE":
        size /= 1024
        if size < 1000 or prefix == "E":
            break
    digits = f"{size:.2f}" if size < 9.995 else f"{size:.1f}" if size < 99.95 else f"{size:.0f}"
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits} {prefix}iB"


def rate_text(rate: float) -> str:
    """``rate`` bytes per second, in the form of :func:`size_text`."""
    return size_text(rate) + "/s"


def duration_text(seconds: float) -> str:
    """A duration with as many digits as are useful: ``30 ms``, ``4.2 s``, ``42 s``, ``3 min 20 s``, ``2 h 5 min``, ``3 d 4 h``."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 3599.5:
        return _two_units(seconds, 60, "min", 1, "s")
    if seconds < 86400 - 30:
        return _two_units(seconds, 3600, "h", 60, "min")
    return _two_units(seconds, 86400, "d", 3600, "h")


def milliseconds_text(seconds: float) -> str:
    """A short time, with fractions of a millisecond: ``0.34 ms``, ``2.1 ms``, ``50 ms``."""
    return f"{seconds * 1000:.2g} ms" if seconds < 0.01 else duration_text(seconds)


def _two_units(seconds: float, large: int, large_unit: str, small: int, small_unit: str) -> str:
    count, rest = divmod(round(seconds / small), large // small)
    return f"{count} {large_unit}" + (f" {rest} {small_unit}" if rest else "")
