"""The moment of a switchover, as an operator writes it."""

from __future__ import annotations

from datetime import datetime, timedelta

from nbdtun.errors import ConfigError

NOW = "now"


def parse_moment(text: str, now: datetime | None = None) -> float:
    """
    ``02:00`` or ``02:00:30``, the next time that it is so late by this host's clock; ``2026-12-24T02:00``; or ``now``, which is 0.

    Returns seconds since the epoch; ``now`` is the present, in local time.

    :raise ConfigError: it is none of these, or is over.
    """
    word, present = text.strip(), now or datetime.now()
    if word == NOW:
        return 0.0
    found = _read(word, present)
    if found is None:
        raise ConfigError(f"{text!r} is not a moment such as 02:00, 2026-12-24T02:00 or now")
    if found <= present:
        raise ConfigError(f"{text!r} is over", "for a switchover as soon as possible, give now")
    return found.timestamp()


def _read(word: str, present: datetime) -> datetime | None:
    for form in ("%H:%M", "%H:%M:%S"):
        try:
            time = datetime.strptime(word, form).time()
        except ValueError:
            continue
        today = datetime.combine(present, time)
        return today if today > present else datetime.combine(present + timedelta(days=1), time)
    try:
        return datetime.strptime(word.replace(" ", "T"), "%Y-%m-%dT%H:%M")
    except ValueError:
        return None
