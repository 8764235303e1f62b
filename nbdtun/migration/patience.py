"""
How long a migration may last, and when it counts as stalled: rules without I/O.

Time limits hold for a phase, or for the whole up to the switchover. What lasts as long as the data does (disks, memory) has none unless
it is asked for; what is a few commands has one always. The last phase has none: once the destination was told to take over, there is
nothing left that could be ended.

A migration is stalled when no byte moves although the link is up. While the link is lost the resume window counts, not this. A guest
that writes faster than the link makes bytes move: that is no stall, and only a time limit ends it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from attrs import field, frozen

from nbdtun.errors import ConfigError, MigrationError, Stalled, TimedOut
from nbdtun.migration.progress import Phase, Progress
from nbdtun.units import duration_text

DEFAULTS: Final[Mapping[Phase, float | None]] = MappingProxyType(
    {Phase.PREPARE: 300.0, Phase.MIRROR: None, Phase.READY: 300.0, Phase.RAM: None, Phase.SWITCHOVER: 120.0}
)
"""Seconds that each phase may last, None for as long as it takes. A phase that is not here has no limit that could be set."""

COPYING: Final = (Phase.MIRROR, Phase.RAM)
"""Where a paused guest helps: whatever is left gets less from then on."""

_MOVING: Final = (*COPYING, Phase.SWITCHOVER)
_REMEDY: Final = "if the guest changes faster than it can be copied, --converge and --on-timeout force help, and so does more --bandwidth"


class OnTimeout(enum.Enum):
    """What a time limit does while disks or memory are copied; at any other time it cancels."""

    CANCEL = "cancel"
    FORCE = "force"


def _complete(given: Mapping[Phase, float | None]) -> Mapping[Phase, float | None]:
    for phase, seconds in given.items():
        if phase not in DEFAULTS:
            raise ConfigError(f"phase {phase.value} has no time limit: it is one of {', '.join(known.value for known in DEFAULTS)}")
        if seconds is not None and seconds <= 0:
            raise ConfigError(f"timeout of {phase.value} must be more than 0, not {seconds:g}")
    return MappingProxyType({**DEFAULTS, **given})


def _positive(_: object, attribute: object, value: float | None) -> None:
    if value is not None and value <= 0:
        raise ConfigError(f"{getattr(attribute, 'alias', 'value')} timeout must be more than 0, not {value:g}")


@frozen(kw_only=True)
class Patience:
    """
    Time limits in seconds, None for none.

    ``phases`` has those that are not the default; ``total`` is that of all phases together, up to the end of the switchover.
    ``stall`` is how long no byte may move.

    :raise ConfigError: a limit is not more than 0, or of a phase that can have none.
    """

    phases: Mapping[Phase, float | None] = field(factory=dict, converter=_complete)
    total: float | None = field(default=None, validator=_positive)
    stall: float | None = field(default=300.0, validator=_positive)
    on_timeout: OnTimeout = OnTimeout.CANCEL

    def limit(self, phase: Phase) -> float | None:
        """Seconds that ``phase`` may last."""
        return self.phases.get(phase)


@frozen
class Verdict:
    """It has lasted too long: what it fails with, unless it is to be ``forced`` instead."""

    error: MigrationError
    forced: bool = False


class Vigil:
    """Looks at a migration of ``vm`` from time to time, and says when patience has ended; it begins at ``now``, in seconds."""

    def __init__(self, vm: str, patience: Patience, now: float) -> None:
        self.forced = False
        self._vm = vm
        self._patience = patience
        self._began = now
        self._phase: Phase | None = None
        self._entered = now
        self._moved = -1
        self._since = now

    def __repr__(self) -> str:
        return f"<Vigil over {self._vm} {self._phase and self._phase.value}{' forced' if self.forced else ''}>"

    def look(self, now: float, progress: Progress, moved: int) -> Verdict | None:
        """``moved`` only grows, with each byte; the verdict, if there is one. Once it is ``forced``, only a stall ends it."""
        if progress.phase is not self._phase:
            self._phase, self._entered, self._since = progress.phase, now, now
        if moved != self._moved or progress.link.lost_for is not None or progress.phase not in _MOVING:
            self._moved, self._since = moved, now
        if progress.phase not in DEFAULTS:
            return None
        return self._stalled(now, progress.phase) or self._overdue(now, progress.phase, progress.link.lost_for is not None)

    def _stalled(self, now: float, phase: Phase) -> Verdict | None:
        stall = self._patience.stall
        if stall is None or now - self._since < stall:
            return None
        text = f"{self._vm}: no byte has moved for {duration_text(stall)} in phase {phase.value}, though the link is up (--stall-timeout)"
        return Verdict(Stalled(f"{text}; does a disk hang, at either end?"))

    def _overdue(self, now: float, phase: Phase, cut: bool) -> Verdict | None:
        force = self._patience.on_timeout is OnTimeout.FORCE and phase in COPYING
        if self.forced or (force and cut):  # to pause it, QEMU would wait for what is on its way
            return None
        limit, total = self._patience.limit(phase), self._patience.total
        if limit is not None and now - self._entered >= limit:
            text = f"{self._vm}: phase {phase.value} was not over after {duration_text(limit)} (--timeout {phase.value}=)"
        elif total is not None and now - self._began >= total:
            text = f"{self._vm}: after {duration_text(total)} (--timeout) it was still in phase {phase.value}"
        else:
            return None
        self.forced = force
        return Verdict(TimedOut(f"{text}; {_REMEDY}" if phase in COPYING and not force else text), force)
