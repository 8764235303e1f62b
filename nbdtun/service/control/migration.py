"""The control of a running migration: its report, its limits, and its end."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from nbdtun import __version__
from nbdtun.errors import MigrationError, TooLate
from nbdtun.logs import PROGRESS, make_logger, make_named
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.supervision.moment import Moment
from nbdtun.service.control.commands import NO_LIMIT, YIELD_SECONDS
from nbdtun.units import duration_text, moment_text, rate_text

_phases = make_named(PROGRESS)  # as an attribute of a class, it would have the name of that


class Settling(Protocol):
    """The way out of an unknown outcome, in which nothing can be changed."""

    checklist: Checklist


class Allowance(Protocol):
    """
    What a migration may use: ``bandwidth`` in bytes per second, None for no limit, and ``downtime`` in seconds.

    Others may leave it less for a time.
    """

    bandwidth: int | None
    downtime: float

    async def set_bandwidth(self, bandwidth: int | None) -> None:
        """Change it."""

    async def set_downtime(self, seconds: float) -> None:
        """Change it."""

    async def set_ceiling(self, ceiling: int | None) -> None:
        """Change what others leave to it, in bytes per second; None for all."""


@runtime_checkable
class Governed(Protocol):
    """A migration, of a QEMU or of a VM of libvirt's."""

    @property
    def moment(self) -> Moment | None:
        """When it switches over; None if that cannot be chosen."""

    @property
    def budget(self) -> Allowance:
        """What it may use."""

    @property
    def under_way(self) -> bool:
        """Whether it can still be changed, or cancelled."""

    def cancel(self) -> bool:
        """Roll it back; False if it already is."""


class MigrationControl:
    """
    Controls ``work``, which migrates ``vm`` and reports to :meth:`heed`, which passes it on to ``report``. ``place`` is where the VM is:
    the path of its monitor, or the URI of its libvirt. ``to`` is its destination, as its operator wrote it. ``clock`` ends what it yields.

    ``log`` returns where its messages go, if nobody sees them; ``workers`` what is told of its workers.

    A :class:`~nbdtun.service.control.subject.Controllable`.
    """

    log = make_logger()

    def __init__(
        self,
        clock: IReactorTime,
        vm: str,
        place: str,
        report: Callable[[Progress], None],
        log: Callable[[], str | None] = lambda: None,
        to: str = "",
    ) -> None:
        self.work: Governed | Settling | None = None
        self._clock = clock
        self._yielding: IDelayedCall | None = None
        self._vm = vm
        self._place = {"libvirt": place} if "://" in place else {"qmp": os.path.abspath(place)}
        self._report = report
        self._log = log
        self._to = to
        self._begun = False
        self.workers: Callable[[], list[dict[str, Any]]] = list
        self._latest = Progress(time=0.0, elapsed=0.0, phase=Phase.PREPARE)

    def __repr__(self) -> str:
        return f"<MigrationControl of {self.work!r}>"

    def heed(self, progress: Progress) -> None:
        """Keep this report of the migration, log a new phase, and pass it on."""
        self._log_phase(progress.phase)
        if progress.phase.final:
            self._keep_all()
        self._latest, self._begun = evolve(progress, session=self._session), True
        self._report(self._latest)

    def _log_phase(self, phase: Phase) -> None:
        session = self._session
        if not self._begun and session:
            _phases.info("{vm}: session {session} begins", vm=self._vm, session=session, phase=phase.value)
        elif phase is not self._latest.phase:
            _phases.info("{vm}: {phase}", vm=self._vm, session=session, phase=phase.value)

    @property
    def _session(self) -> str:
        """The first digits of its id; empty if it has none, or has not begun."""
        return str(getattr(self.work, "session", ""))[:8]

    def report(self) -> dict[str, Any]:
        """Its progress, and its limits."""
        allowed: dict[str, Any] = {}
        if isinstance(self.work, Governed):
            allowed = {"bandwidth": self.work.budget.bandwidth, "downtime": self.work.budget.downtime}
        place = {} if (log := self._log()) is None else {"log": log}
        whose = {"kind": "migration", "name": self._vm, **self._place, "pid": os.getpid(), "release": __version__}
        whose |= {name: told for name, told in (("session", self._session), ("to", self._to)) if told}
        hands = {"workers": found} if (found := self.workers()) else {}
        return {**whose, **allowed, **place, **hands, "progress": self._latest.as_json()}

    async def survey(self) -> dict[str, Any]:
        """The same: all of it is known."""
        return self.report()

    async def change(self, bandwidth: int | None, downtime: int | None, switchover: int | None = None) -> None:
        """
        Change its limits: bytes per second, and ms; and when it may switch over, in seconds since the epoch. None leaves a value as it is.

        :raise TooLate: it has not begun, was handed over, is rolling back, or has ended; or it switches over already.
        :raise MigrationError: libvirt chooses the moment.
        """
        work = self._changeable()
        allowance = work.budget
        if bandwidth is not None:
            await allowance.set_bandwidth(None if bandwidth == NO_LIMIT else bandwidth)
            self.log.info("{vm}: bandwidth is now {rate}", vm=self._vm, rate=rate_text(bandwidth) if bandwidth else "unlimited")
        if downtime:
            await allowance.set_downtime(downtime / 1000)
            self.log.info("{vm}: downtime is now {time}", vm=self._vm, time=duration_text(downtime / 1000))
        if switchover is not None:
            self._choose(work.moment, switchover)

    def _changeable(self) -> Governed:
        if not isinstance(self.work, Governed) or not self.work.under_way:
            raise TooLate(f"{self._vm}: its limits cannot be changed in phase {self._latest.phase.value}")
        return self.work

    async def give_way(self, bandwidth: int) -> None:
        """
        Use no more bytes per second than that for some seconds; :data:`NO_LIMIT` ends it.

        :raise TooLate: as of :meth:`change`.
        """
        allowance = self._changeable().budget
        self._keep_all()
        if bandwidth != NO_LIMIT:
            self._yielding = self._clock.callLater(YIELD_SECONDS, self._lapse)
        await allowance.set_ceiling(None if bandwidth == NO_LIMIT else bandwidth)

    def _keep_all(self) -> None:
        """The ceiling does not lapse by itself any more."""
        yielding, self._yielding = self._yielding, None
        if yielding is not None:
            yielding.cancel()

    def _lapse(self) -> None:
        """Nobody has asked again for it to give way."""
        self._yielding = None
        if isinstance(self.work, Governed) and self.work.under_way:
            work = Deferred.fromCoroutine(self.work.budget.set_ceiling(None))
            work.addErrback(lambda failure: self.log.warn("{vm}: {reason}", vm=self._vm, reason=failure.getErrorMessage()))

    def _choose(self, moment: Moment | None, at: int) -> None:
        if moment is None:
            raise MigrationError(f"{self._vm}: --switchover is for VMs without libvirt: libvirt switches over by itself when all is copied")
        try:
            moment.choose(at)
        except TooLate as late:
            raise TooLate(f"{self._vm}: {late}") from None
        self.log.info("{vm}: it may switch over {when}", vm=self._vm, when=f"from {moment_text(at)} on" if moment.ahead else "now")

    def end(self) -> None:
        """
        Roll it back.

        :raise TooLate: it was handed over to the destination, or has ended.
        """
        phase = self._latest.phase
        if not isinstance(self.work, Governed) or phase.handed_over or phase.final:
            raise TooLate(f"{self._vm}: cannot be cancelled in phase {phase.value}")
        if self.work.cancel():  # else it is already rolling back
            self.log.warn("{vm}: cancelled by another command, rolling back", vm=self._vm)
