"""
Sizes and durations, as operators write and read them.

Units follow ``dd``: ``k``, ``M``, ``G``, ``T``, with or without ``iB``, count in 1024s as QEMU does; ``kB``, ``MB``, ``GB``, ``TB`` in
1000s. Rates may be in bits as well: ``Mbit/s`` and ``Mbps`` count in 1000s. Case does not matter, but for ``Mb``: some write it for bits
and some for bytes, so it is refused. Every number but 0 has its unit: to users of virsh, ``--bandwidth 100`` is in MiB/s, and
``--downtime 300`` in milliseconds. The parsers read what :func:`size_text` and :func:`duration_text` print.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Final

from nbdtun.errors import ConfigError

_PREFIXES: Final = "kmgtpe"
_AMOUNT: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)
_BYTES: Final = re.compile(r"([kmgtpe]?)(ib|b)?", re.IGNORECASE)
_BITS: Final = re.compile(r"([kmgtpe]?)(ib|b)it", re.IGNORECASE)
_BITS_PER_SECOND: Final = re.compile(r"([kmgtpe]?)(b)ps", re.IGNORECASE)
_NUMBER: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zµ]*)\s*", re.IGNORECASE)
_SECONDS: Final = {
    **dict.fromkeys(("us", "µs", "usec"), Decimal("0.000001")),
    **dict.fromkeys(("ms", "msec"), Decimal("0.001")),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), Decimal(1)),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), Decimal(60)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), Decimal(3600)),
    **dict.fromkeys(("d", "day", "days"), Decimal(86400)),
}
_MOST: Final = 10**6
_MOST_BYTES: Final = 2**63 - 1
_MOST_SECONDS: Final = 10**9


def parse_size(text: str) -> int:
    """
    ``500MiB``, ``1GiB``, ``10G``, ``64k``, ``1.5 GiB``, ``4096B``, ``0``: bytes, fractions rounded down.

    :raise ConfigError: it is not a size, has no unit or an ambiguous one, or is 8 EiB or more.
    """
    number, unit = _amount(text, "a size such as 64KiB, 500MiB or 10G")
    match = _BYTES.fullmatch(unit)
    if match is None:
        raise ConfigError(f"{text!r} is not a size such as 64KiB, 500MiB or 10G", _meant(number, unit))
    if not unit and Decimal(number):
        raise ConfigError(f"{text!r} has no unit", f"write {number}MiB, {number}KiB or {number}B")
    if unit.endswith("b") and not unit.endswith("ib"):
        raise ConfigError(f"{text!r} could be bits or bytes", f"write {number}{unit[:-1].upper()}{'i' * (len(unit) > 1)}B")
    return _scaled(text, number, match, 1)


def _amount(text: str, wanted: str) -> tuple[str, str]:
    """The number and its unit, which may be empty or unknown."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{text!r} is not {wanted}")
    return match.group(1), match.group(2)


def _scaled(text: str, number: str, unit: re.Match[str], bits: int) -> int:
    """``number`` of ``unit``, which are bytes, or of which ``bits`` make a byte."""
    prefix, suffix = unit.groups(default="")
    base = 1000 if prefix and suffix.lower() == "b" else 1024
    power = _PREFIXES.index(prefix.lower()) + 1 if prefix else 0
    size = int(Decimal(number) * base**power / bits)
    if size > _MOST_BYTES:
        raise ConfigError(f"{text!r} is more than 8 EiB")
    return size


def _meant(number: str, unit: str) -> str:
    """A remedy for a size or rate whose unit is unknown, if its first letter tells which was meant."""
    return f"did you mean {number}{unit[:1].upper()}iB?" if re.fullmatch("[kmgt](i|i?bytes?)", unit, re.IGNORECASE) else ""


def choice_remedy(given: str, known: Iterable[str]) -> str:
    """A remedy for a word that is not among ``known``: the nearest of them, or all."""
    words = list(known)
    near = get_close_matches(given.lower(), words, 1, 0.7)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(words)}"


def parse_count(text: str) -> int:
    """
    ``1``, ``1024``: a limit of how many.

    :raise ConfigError: it is not a whole number from 1 to a million.
    """
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 7 and 1 <= int(digits) <= _MOST):
        raise ConfigError(f"{text!r:.40} is not a number from 1 to {_MOST}")
    return int(digits)


def parse_rate(text: str) -> int:
    """
    ``500MiB``, ``500MiB/s``, ``100Mbit/s``, ``10Gbit``, ``10Gbps``: bytes per second, fractions rounded down.

    :raise ConfigError: it is not a rate, has no unit or an ambiguous one.
    """
    wanted = "a rate such as 500MiB or 100Mbit/s"
    amount = text.strip()
    number, unit = _amount(amount.removesuffix("/s"), wanted)
    bits = _BITS.fullmatch(unit) or (_BITS_PER_SECOND.fullmatch(unit) if not amount.endswith("/s") else None)
    if bits is not None:
        if unit.endswith("Bps"):
            raise ConfigError(f"{text!r} could be bits or bytes", f"write {_either(number, unit[:-3])}")
        return _scaled(text, number, bits, 8)
    if not unit and Decimal(number):
        raise ConfigError(f"{text!r} has no unit", f"write {_either(number, 'M')}")
    if re.fullmatch("[kmgtpe]?b", unit, re.IGNORECASE) and unit.endswith("b"):
        raise ConfigError(f"{text!r} could be bits or bytes", f"write {_either(number, unit[:-1])}")
    if _BYTES.fullmatch(unit) is None:
        raise ConfigError(f"{text!r} is not {wanted}", _meant(number, unit))
    return parse_size(f"{number}{unit}")


def _either(number: str, prefix: str) -> str:
    """The two ways to write a rate with this prefix."""
    return f"{number}{prefix.upper()}{'i' * bool(prefix)}B or {number}{prefix}bit/s"


def parse_duration(text: str) -> float:
    """
    ``300ms``, ``2s``, ``5min``, ``1h``, ``1 min 30 s``, ``0``: seconds.

    :raise ConfigError: it is not a duration, has no unit, or is more than 30 years.
    """
    parts = _NUMBER.findall(text.strip())
    whole = "".join(match.group(0) for match in _NUMBER.finditer(text.strip()))
    if len(parts) == 1 and whole == text.strip() and not parts[0][1]:
        if not Decimal(parts[0][0]):
            return 0.0
        raise ConfigError(f"{text!r} has no unit", f"write {parts[0][0]}s or {parts[0][0]}ms")
    if not parts or whole != text.strip() or any(unit.lower() not in _SECONDS for _, unit in parts):
        raise ConfigError(
            f"{text!r} is not a duration such as 300ms, 2s or 5min", _nearest_duration(parts if whole == text.strip() else [])
        )
    seconds = sum(Decimal(number) * _SECONDS[unit.lower()] for number, unit in parts)
    if seconds > _MOST_SECONDS:
        raise ConfigError(f"{text!r} is more than 30 years")
    return float(seconds)


def _nearest_duration(parts: Iterable[tuple[str, str]]) -> str:
    """A remedy: the same with the nearest known units; empty if one is like none."""
    near = [(number, get_close_matches(unit.lower(), _SECONDS, 1, 0.5)) for number, unit in parts]
    if not near or not all(units for _, units in near):
        return ""
    return f"did you mean {' '.join(number + units[0] for number, units in near)}?"


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


def moment_text(at: float, now: float | None = None) -> str:
    """
    A moment in seconds since the epoch, by this host's clock: ``02:00``, ``02:00:30``; another day than the next 24 hours has its date.

    ``now`` is the present.
    """
    then = datetime.fromtimestamp(at).astimezone()
    time = then.strftime("%H:%M:%S" if then.second else "%H:%M")
    present = datetime.now().astimezone().timestamp() if now is None else now
    return time if 0 <= at - present < 86400 else f"{then:%Y-%m-%d} {time}"


def milliseconds_text(seconds: float) -> str:
    """A short time, with fractions of a millisecond: ``0.34 ms``, ``2.1 ms``, ``50 ms``."""
    return f"{seconds * 1000:.2g} ms" if seconds < 0.01 else duration_text(seconds)


def _two_units(seconds: float, large: int, large_unit: str, small: int, small_unit: str) -> str:
    count, rest = divmod(round(seconds / small), large // small)
    return f"{count} {large_unit}" + (f" {rest} {small_unit}" if rest else "")


def listed(things: Iterable[object], most: int = 8) -> str:
    """``a, b``, or ``a, b and 7 more``: in one line, at most so many."""
    every = [str(thing) for thing in things]
    more = len(every) - most
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")
