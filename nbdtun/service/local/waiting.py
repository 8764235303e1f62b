"""The words of a daemon that is shutting down, about what it still waits for."""

from __future__ import annotations

from collections.abc import Sequence

from nbdtun.units import duration_text
from nbdtun.units import listed as names_of


def listed(things: Sequence[str]) -> str:
    """``a, b``, ``a, b and 7 more``, or ``nothing``."""
    return names_of(things) or "nothing"


def patience(things: Sequence[str], seconds: float) -> str:
    """``waiting up to 10 min (--drain-timeout) for ...``: the line for the log, said once."""
    return f"waiting up to {duration_text(seconds)} (--drain-timeout) for {listed(things)}; a second signal ends it now"
