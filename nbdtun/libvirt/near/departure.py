"""
The source: libvirt's migration of one domain from its check to its outcome.

libvirt itself undoes its part when its call fails, and lets the guest run on at the source. What is left to do is the far end's part: what
was made is removed there, unless the guest runs on it, or has. The far end is asked for that after each failure. If its libvirt says that
the guest runs there, or cannot be asked after the handover, the guest here stays paused, and ``--resolve`` ends it one way or the other.
If this process is killed, another one takes its place (``nbdtun/service/libvirt/takeover.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nbdtun.deferreds import shield
from nbdtun.errors import GuestLost, LibvirtError, MigrationError, NbdtunError, OutcomeUnknown, TunnelError
from nbdtun.kept import Kept
from nbdtun.libvirt.connection import Libvirt
from nbdtun.libvirt.near.job import Job
from nbdtun.libvirt.near.obstacles import obstacles
from nbdtun.libvirt.near.order import Order, Sockets, order
from nbdtun.libvirt.near.pending import Pending, pending
from nbdtun.libvirt.near.session import FarSession
from nbdtun.libvirt.near.settling import AGAIN, check_there, settle
from nbdtun.libvirt.near.survey import Survey, survey
from nbdtun.libvirt.near.watch import Limits, Watch
from nbdtun.libvirt.near.way import Handover, Ward, Way
from nbdtun.libvirt.values import Fate
from nbdtun.logs import about, make_logger
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.ids import new_session
from nbdtun.migration.progress import GuestState, Phase, Progress
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.vm.disks import Disk
from nbdtun.spawn.near.nonces import Nonces
from nbdtun.spawn.rewrite.answers import Answers

#: Seconds between two attempts to end libvirt's job: it may not have begun yet.
ABORT_AGAIN = 1.0


@frozen
class Plan:
    """
    How to migrate: ``settings``, and what differs there.

    ``state`` is the directory for what must outlive this process.
    """

    settings: MigrationSettings
    state: Path
    answers: Answers = field(factory=Answers)
    dest_xml: str = ""


class Departure:
    """
    One migration of the domain that ``plan`` names, at ``libvirt``, which the caller closes.

    ``report`` is called with a :class:`~nbdtun.migration.progress.Progress` at each change of phase, about once a second, and with the
    final one. ``limits`` may be changed while it is :attr:`under_way`. ``checklist`` may have earlier findings.
    """

    log = make_logger()
    moment: Final = None  #: libvirt chooses it

    def __init__(self, reactor: Any, libvirt: Libvirt, way: Way, plan: Plan, report: Callable[[Progress], None]) -> None:
        self.settings = plan.settings
        self.checklist = Checklist()
        self._reactor = reactor
        self._libvirt = libvirt
        self._way = way
        self._plan = plan
        self._guest = GuestState.UNKNOWN
        self._meter = Meter(reactor, report, lambda: way.link, guest=lambda: self._guest)
        self._secret = way.new_secret()
        self._session = FarSession(reactor, way, new_session(), self._secret, plan.settings.steps, self._alarm)
        self._forward: Deferred[None] | None = None
        self._call: Deferred[None] | None = None
        self._cause: BaseException | None = None
        self._survey: Survey | None = None
        self._pending: Kept[Pending] | None = None  #: it was handed over
        self._doubtful = False  #: it was handed over, and it is not known whether it runs there
        self._job = Job(libvirt)
        self.budget = Limits(self._job, plan.settings.bandwidth, plan.settings.downtime)
        self._watch = Watch(reactor, self._job, plan.settings, self._meter, self.budget, self._alarm)

    def __repr__(self) -> str:
        return f"<Departure of {self.settings.vm} {self._meter.now.phase.value}>"

    async def run(self) -> Progress:
        """
        Migrate; returns the final progress once the VM runs at the destination (or is paused there, if it was paused).

        Cancelling the Deferred of this coroutine is :meth:`cancel`.

        :raise OutcomeUnknown: it may run there; it is paused at the source.
        :raise GuestLost: it has run there, and was lost at once.
        :raise CancelledError: it was cancelled; the VM runs on at the source.
        :raise NbdtunError: it failed; the VM runs on at the source. In each case the final progress was reported before.
        """
        with about(vm=self.settings.vm, session=self.session[:8]):
            return await shield(Deferred.fromCoroutine(self._run()), self.cancel)

    @property
    def session(self) -> str:
        """Its id."""
        return self._session.ident

    def cancel(self) -> bool:
        """Have libvirt end it, and let :meth:`run` fail with CancelledError; False if it is too late for that."""
        return self._interrupt(CancelledError())

    @property
    def under_way(self) -> bool:
        """Whether it can still be changed, or cancelled."""
        return self._forward is not None and self._cause is None and not self._meter.now.phase.handed_over

    def _alarm(self, error: Exception) -> None:
        self._interrupt(error)

    def _interrupt(self, cause: BaseException) -> bool:
        if not self.under_way or self._forward is None:
            return False
        self._cause = cause
        self._reactor.callLater(0, self._forward.cancel)  # not now: this may be called from inside of it
        return True

    async def _run(self) -> Progress:
        self._meter.enter(Phase.PREPARE)
        self._watch.start()
        self._forward = Deferred.fromCoroutine(self._steps())
        try:
            await self._forward
        except BaseException as error:  # _fail rolls back, and raises what it is given
            self._forward = None
            return await self._fail(self._cause or error)
        self._forward = None
        return await self._arrive()

    async def _steps(self) -> None:
        with ExitStack() as beside:
            nonces = beside.enter_context(Nonces())
            found = await self._check(nonces)
            self._meter.expect_memory(found.memory)
            self._meter.expect({image.target: Disk(image.target, image.target, "", image.capacity) for image in found.images})
            await self._session.open()
            self._way.guard(Ward(self._session.ident, self._secret, found.domain.name, found.domain.uuid))
            prepared = await self._session.prepare(self._wanted(found, nonces))
        sockets = Sockets(prepared.directory, prepared.mode)
        handover = Handover(self._hand_over, self._handed)
        await self._way.make(prepared.directory, self._session.ident, found.domain.owner, handover)
        targets = {"libvirt.sock": prepared.libvirt, "memory.sock": prepared.memory, "disks.sock": prepared.disks}
        for name, target in targets.items():
            await self._way.enter(target, name, urgent=name != "disks.sock", secret=self._secret)
        await self._move(order(self.settings, sockets, found.targets, found.xml, found.persistent), found)

    async def _check(self, nonces: Nonces) -> Survey:
        """Check whether it can leave, and arrive; all that is in the way is said at once, and nothing is changed."""
        plan = self._plan
        found = self._survey = await examine(self._libvirt, plan)
        self._guest = GuestState.RUNS if found.runs else GuestState.PAUSED
        self._job.uuid = found.domain.uuid
        obstacles(self.checklist, found, plan.state, keep=self.settings.keep_source)
        try:
            await self._session.open()
        except TunnelError:
            self.checklist.refuse()  # what is known here is said all the same
            raise
        for finding in (await self._session.look(self._wanted(found, nonces))).findings:
            self.checklist.add(finding)
        self.checklist.raise_failures(self.settings.vm)
        return found

    def _wanted(self, found: Survey, nonces: Nonces) -> Any:
        return found.wanted(known_again(found, nonces), overwrite=self._plan.answers.overwrite)

    async def _move(self, told: Order, found: Survey) -> None:
        """libvirt's own part: its call ends by itself, or when its job was ended, and never otherwise."""
        call: Deferred[None] = Deferred()
        self._call = call
        self._job.start(told).addBoth(self._called)
        self._watch.follow(found.targets)
        await shield(call, self._end_job)

    def _called(self, result: Any) -> None:
        """libvirt's call has ended; or it is left to another process."""
        call, self._call = self._call, None
        if call is not None:
            call.callback(result)

    def _hand_over(self) -> None:
        """The destination is about to be told to let the guest run."""
        assert self._survey is not None
        domain = self._survey.domain
        kept = pending(self._plan.state, domain.uuid)
        if not kept.write(Pending(domain.uuid, domain.name, self._session.ident, self._secret.hex(), self._survey.runs)):
            raise MigrationError(f"{domain.name}: the handover cannot be written down, and is not begun", "its log says why")
        self._pending = kept
        self._watch.taken_over()

    async def _handed(self) -> tuple[str, str] | None:
        """libvirt's connection is lost, and the guest may run there: libvirt waits for our answer, and the guest stands still here."""
        assert self._survey is not None
        vm, domain = self.settings.vm, self._survey.domain
        self.log.warn("{vm}: the destination was lost while it took over; asking it what became of {vm}", vm=vm)
        self._doubtful = True
        try:
            fate = await self._session.outcome(domain.uuid, end=True)
        except OutcomeUnknown as unknown:
            self._called(Failure(unknown))
            raise
        self._doubtful = False
        return (domain.name, domain.uuid) if fate.has_run else None

    def _end_job(self) -> None:
        """Have libvirt end its job, as often as it takes: it may not have begun yet."""

        async def end() -> None:
            while self._call is not None:
                await self._job.abort()
                await deferLater(self._reactor, ABORT_AGAIN)

        Deferred.fromCoroutine(end()).addErrback(lambda failure: self.log.failure("libvirt's job cannot be ended", failure=failure))

    async def _arrive(self) -> Progress:
        """libvirt says that it runs there."""
        self._settled()  # at once: what a killed process leaves would stand in the way once the domain is back
        self._watch.arrived(self._job.last)
        downtime = await self._job.downtime()
        assert self._survey is not None
        if self.settings.keep_source:
            await self._keep_off()
        try:
            fate = await self._session.finish(self._survey.domain.uuid, arrived=True)
        except OutcomeUnknown as unknown:  # of little interest: libvirt has told it
            self.log.warn("{vm}: {reason}", vm=self.settings.vm, reason=str(unknown))
            fate = Fate(state="running", has_run=True)
        await self._close()
        try:
            check_there(fate, self.settings.vm)
        except GuestLost as lost:
            self._meter.finish(Phase.LOST, downtime, lost)
            raise
        return self._meter.finish(Phase.COMPLETED, downtime)

    async def _keep_off(self) -> None:
        """The one that is kept here must not be started with this host: its guest runs there."""
        try:
            await self._job.end(undefine=False)
        except LibvirtError as error:
            vm = self.settings.vm
            self.log.warn("{vm}: see that it is not started here: virsh autostart --disable {vm}: {reason}", vm=vm, reason=str(error))

    async def _fail(self, error: BaseException) -> Progress:
        """It has failed, or was cancelled: find out where it is, and leave nothing."""
        if isinstance(error, LibvirtError):  # which says of the tunnel that a socket is closed
            error = self._way.trouble or error
        self._watch.stop()
        self._meter.enter(Phase.ROLLBACK)
        try:
            if self._session.prepared and await self._has_moved(error):
                self._settled()
                if self.settings.keep_source:
                    await self._keep_off()
                return self._meter.finish(Phase.COMPLETED)
        except OutcomeUnknown as unknown:
            self._meter.finish(Phase.UNKNOWN, error=unknown)
            raise
        except MigrationError as worse:
            error = worse
        finally:
            await self._close()
        self._settled()
        if isinstance(error, CancelledError):
            self._meter.finish(Phase.CANCELLED, error="cancelled")
            raise error
        failure = error if isinstance(error, NbdtunError) else MigrationError(f"internal error: {error!r}")
        if failure is not error:
            self.log.failure("{vm}: a bug in nbdtun", failure=Failure(error), vm=self.settings.vm)
        self._meter.finish(Phase.LOST if isinstance(failure, GuestLost) else Phase.FAILED, error=failure)
        raise failure from None

    async def _has_moved(self, error: BaseException) -> bool:
        """
        Whether it runs there all the same; else it runs on here.

        :raise NbdtunError: as :func:`settle` has it.
        """
        assert self._survey is not None
        if self._doubtful:
            with suppress(NbdtunError):
                await self._job.pause_again()  # nobody keeps libvirt waiting, and it has just let it run on
            lost = f"{error}; {self.settings.vm} was handed over, and the destination could not be asked what became of it"
            raise OutcomeUnknown(lost, AGAIN)
        handed_over = self._pending is not None
        return await settle(
            self._job, self._session, self._survey, self.settings.vm, error, handed_over=handed_over, forced=self._watch.paused
        )

    async def _close(self) -> None:
        self._session.close()
        await self._way.remove()

    def _settled(self) -> None:
        """It is known where it runs."""
        if self._pending is not None:
            self._pending.erase()


async def examine(libvirt: Libvirt, plan: Plan) -> Survey:
    """
    Read what is to move.

    :raise NbdtunError: it cannot.
    """
    vm, disks = plan.settings.vm, plan.settings.disks
    return await libvirt.do(lambda opened: survey(opened, vm, plan.answers, disks, plan.dest_xml))


def known_again(found: Survey, nonces: Nonces) -> Any:
    """The images, which the far end can know again if it sees them too."""
    return tuple(evolve(image, twin=nonces.twin(origin)) for image, origin in zip(found.images, found.origins, strict=True))
