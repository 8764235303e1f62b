"""How time limits and strategies are written as options: the same for the command and the daemon."""

from __future__ import annotations

from collections.abc import Iterable

from nbdtun.errors import ConfigError
from nbdtun.migration.progress import Phase
from nbdtun.migration.settings import Strategy
from nbdtun.migration.timeouts import DEFAULTS, OnTimeout, Timeouts
from nbdtun.units import choice_remedy, parse_duration, parse_rate

UNLIMITED = "none"

Timeout = tuple[Phase | None, float | None]


def parse_limit(text: str) -> float | None:
    """
    ``5min``, or ``none`` for no limit: seconds.

    :raise ConfigError: it is neither.
    """
    return None if text.strip() == UNLIMITED else parse_duration(text)


def parse_any_rate(text: str) -> int:
    """
    ``500MiB``, or ``none`` for no limit, which is 0: bytes per second.

    :raise ConfigError: it is neither, or 0.
    """
    if text.strip() == UNLIMITED:
        return 0
    rate = parse_rate(text)
    if not rate:
        raise ConfigError("bandwidth must be more than 0; for no limit, give none")
    return rate


def parse_timeout(text: str) -> Timeout:
    """
    ``2h`` for the whole migration, ``mirror=2h`` for one phase; ``none`` instead of a time for no limit.

    :raise ConfigError: it is neither, or the phase has no time limit.
    """
    name, equals, time = text.rpartition("=")
    if not equals:
        return None, parse_limit(text)
    phases = {phase.value: phase for phase in DEFAULTS}
    if name not in phases:
        raise ConfigError(f"{name!r} is not a phase with a time limit", choice_remedy(name, phases))
    return phases[name], parse_limit(time)


def parse_strategies(text: str) -> frozenset[Strategy]:
    """
    ``write-blocking,auto-converge``: how to make a migration converge.

    :raise ConfigError: a name is unknown.
    """
    known = {strategy.value: strategy for strategy in Strategy}
    for name in text.split(","):
        if name not in known:
            raise ConfigError(f"{name!r} is not a way to converge", choice_remedy(name, known))
    return frozenset(known[name] for name in text.split(","))


def parse_on_timeout(text: str) -> OnTimeout:
    """
    ``cancel`` or ``force``: the effect of a time limit.

    :raise ConfigError: it is neither.
    """
    known = {each.value: each for each in OnTimeout}
    if text not in known:
        raise ConfigError(f"{text!r} is not a choice", choice_remedy(text, known))
    return known[text]


def make_timeouts(timeouts: Iterable[Timeout], stall: float | None, on_timeout: OnTimeout) -> Timeouts:
    """
    Combine the options; of two for the same phase, the last counts.

    :raise ConfigError: a limit is not valid.
    """
    limits = dict(timeouts)
    total = limits.pop(None, None)
    phases = {phase: limit for phase, limit in limits.items() if phase is not None}
    return Timeouts(phases=phases, total=total, stall=stall, on_timeout=on_timeout)
