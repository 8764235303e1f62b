"""The watchdog of a migration: it ends one that exceeds its time limits, or that stands still. Rules without I/O."""

from __future__ import annotations

from typing import Final

from attrs import frozen

from nbdtun.errors import MigrationError, Stalled, TimedOut
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.timeouts import COPYING, DEFAULTS, OnTimeout, Timeouts
from nbdtun.units import duration_text

_MOVING: Final = (*COPYING, Phase.SWITCHOVER)
_REMEDY: Final = "if the guest changes faster than it can be copied, use --converge, --on-timeout force or more --bandwidth"


@frozen
class Verdict:
    """The migration has lasted too long: it fails with ``error``, unless it is to be ``forced`` instead."""

    error: MigrationError
    forced: bool = False


class Watchdog:
    """Checks a migration of ``vm`` from time to time against its limits; it begins at ``now``, in seconds."""

    def __init__(self, vm: str, timeouts: Timeouts, now: float) -> None:
        self.forced = False
        self._vm = vm
        self._timeouts = timeouts
        self._began = self._last = now
        self._phase: Phase | None = None
        self._entered = now
        self._moved = -1
        self._since = now

    def __repr__(self) -> str:
        return f"<Watchdog over {self._vm} {self._phase and self._phase.value}{' forced' if self.forced else ''}>"

    def check(self, now: float, progress: Progress, moved: int) -> Verdict | None:
        """The verdict, if there is one; ``moved`` grows with each byte. Once it is ``forced``, only a stall ends it."""
        if self._phase is Phase.HOLDING:
            self._began += now - self._last
        self._last = now
        if progress.phase is not self._phase:
            self._phase, self._entered, self._since = progress.phase, now, now
        if moved != self._moved or progress.link.lost_for is not None or progress.phase not in _MOVING:
            self._moved, self._since = moved, now
        if progress.phase not in DEFAULTS:
            return None
        return self._stalled(now, progress.phase) or self._overdue(now, progress.phase, progress.link.lost_for is not None)

    def _stalled(self, now: float, phase: Phase) -> Verdict | None:
        stall = self._timeouts.stall
        if stall is None or now - self._since < stall:
            return None
        text = f"{self._vm}: no byte has moved for {duration_text(stall)} in phase {phase.value}, though the link is up (--stall-timeout)"
        return Verdict(Stalled(f"{text}; is a disk hanging at either end?"))

    def _overdue(self, now: float, phase: Phase, cut: bool) -> Verdict | None:
        force = self._timeouts.on_timeout is OnTimeout.FORCE and phase in COPYING
        if self.forced or (force and cut):  # to pause it, QEMU would wait for requests in flight
            return None
        limit, total = self._timeouts.limit(phase), self._timeouts.total
        if limit is not None and now - self._entered >= limit:
            text = f"{self._vm}: phase {phase.value} took longer than {duration_text(limit)} (--timeout {phase.value}=)"
        elif total is not None and phase is not Phase.HOLDING and now - self._began >= total:
            text = f"{self._vm}: still in phase {phase.value} after {duration_text(total)} (--timeout)"
        else:
            return None
        self.forced = force
        return Verdict(TimedOut(f"{text}; {_REMEDY}" if phase in COPYING and not force else text), force)
