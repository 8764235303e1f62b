"""
The source: a whole migration as one sequence, each step beside its undo.

The guest can run at the destination only after Finish was sent (see ``handover``). Before that, every failure, cancellation and loss
unwinds the steps. After it nothing is undone, unless the destination reports that it did not take over.

Failures outside the current step (a mirror that fails while the memory is sent, a lost monitor or control channel, trouble at the
destination) ring the alarm, which interrupts the sequence with the failure as the cause. A user's cancellation has none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from time import monotonic, time

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from nbdtun.deferreds import shield, together
from nbdtun.errors import GuestLost, LinkLost, NbdtunError, NotMigratable, OutcomeUnknown
from nbdtun.logs import make_logger
from nbdtun.migration.carrier import Carrier, Ingress
from nbdtun.migration.check.blockers import require_unblocked
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.departure import Departure, depart
from nbdtun.migration.finding import Level
from nbdtun.migration.ids import block_name, new_session
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import End, Journal
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.settings import Belonging, MigrationSettings
from nbdtun.migration.source.failure import failure_of, out_of_touch
from nbdtun.migration.source.force import Force
from nbdtun.migration.source.handover import Handover, in_doubt
from nbdtun.migration.source.hold import Hold
from nbdtun.migration.source.ingresses import Ingresses
from nbdtun.migration.source.life import TRANSITIONS, State, Trigger
from nbdtun.migration.source.outcome import as_it_stands, ask
from nbdtun.migration.source.recovery import Recovery
from nbdtun.migration.source.session_client import SessionClient
from nbdtun.migration.source.switchover import Switchover
from nbdtun.migration.supervision.budget import Budget
from nbdtun.migration.supervision.constancy import Constancy
from nbdtun.migration.supervision.convergence import Convergence
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.supervision.moment import Moment
from nbdtun.migration.supervision.sampler import Sampler
from nbdtun.migration.supervision.supervision import Supervision
from nbdtun.migration.supervision.watchdog import Verdict, Watchdog
from nbdtun.migration.vm.bitmaps import Copies
from nbdtun.migration.vm.capabilities import suitable
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.guest import Guest
from nbdtun.migration.vm.memory import Outgoing, Tuning, gather, query_migration, spread
from nbdtun.migration.vm.mirror import Mirror, Mirrors
from nbdtun.states import Life


class Migration:
    """
    One migration of the VM behind ``monitor``, which is already connected; the caller closes it.

    ``report`` is called with a :class:`~nbdtun.migration.progress.Progress` at each change of phase, about once a second, and with
    the final one. ``budget`` and ``moment`` may be changed while it is :attr:`under_way`. ``checklist`` may have earlier findings.
    """

    log = make_logger()

    def __init__(
        self,
        reactor: IReactorTime,
        monitor: Monitor,
        carrier: Carrier,
        settings: MigrationSettings,
        report: Callable[[Progress], None],
        wall: Callable[[], float] = time,
        uptime: Callable[[], float] = monotonic,
    ) -> None:
        self.session, self._secret = new_session(), carrier.new_secret()
        self.settings = settings
        self._reactor, self._monitor, self._carrier = reactor, monitor, carrier
        self._life = Life(TRANSITIONS)
        self._cause: BaseException | None = None
        self._guest = Guest(monitor, self._alarm)
        self._undo, self._tidy = (UndoStack(reactor, settings.steps.undo) for _ in range(2))
        self._recovery = Recovery(reactor, monitor, carrier, settings, uptime)
        self._journal = Journal(monitor, End.SOURCE, self.session, uptime, secret=self._secret)
        self._tuning = Tuning(monitor, self._journal.remember)
        self.budget, self.moment = Budget(settings.bandwidth, settings.downtime), Moment(reactor, settings.switchover, wall)
        self._supervision = Supervision(
            Meter(reactor, report, lambda: carrier.link, wall, lambda: self._guest.state),
            Convergence(monitor, settings, self.budget),
            Watchdog(settings.vm, settings.timeouts, reactor.seconds()),
        )
        self._sampler = Sampler(reactor, monitor, self._supervision, settings.steps.command, self._alarm, self._judge)
        self._forward: Deferred[None] | None = None
        self._downtime: float | None = None
        self._constancy = Constancy(reactor, monitor, f"{settings.vm} at the source", self._alarm)
        self._session = SessionClient(reactor, carrier, self.session, settings, self._alarm, self._secret)
        self._ingresses = Ingresses(carrier, self._tidy, self._secret)
        self._mirrors, self.checklist = Mirrors(monitor, ()), Checklist()
        self._copies: Copies | None = None

    def __repr__(self) -> str:
        return f"<Migration of {self.settings.vm} {self._life.state.value} {self._supervision.meter.now.phase.value}>"

    async def run(self) -> Progress:
        """
        Migrate; returns the final progress once the VM runs at the destination (or is paused there, if it was paused).

        Its ``downtime_ms`` is measured here, as the clocks of two hosts differ: from QEMU's STOP event to the destination's answer that the
        guest runs, which includes one way of the answer; None for a guest that did not run.

        Cancelling the Deferred of this coroutine is :meth:`cancel`.

        :raise OutcomeUnknown: it is unknown whether it runs there; the source stays paused.
        :raise GuestLost: it has run there, and was lost at once; the source stays paused.
        :raise CancelledError: it was cancelled; the VM runs on at the source.
        :raise NbdtunError: it failed; the VM runs on at the source. In each case the final progress was reported before.
        """
        return await shield(Deferred.fromCoroutine(self._run()), self.cancel)

    def cancel(self) -> bool:
        """Roll back, and let :meth:`run` fail with CancelledError; False if it is too late for that."""
        return self._interrupt(None)

    @property
    def under_way(self) -> bool:
        """Whether it can still be changed, or cancelled."""
        return self._life.state is State.FORWARD

    def _alarm(self, error: Exception) -> None:
        self._interrupt(error)

    def _judge(self, verdict: Verdict) -> None:
        if verdict.forced and self.under_way:
            self.moment.choose(0.0)  # a guest that stands still is not held
            force = Force(self._reactor, self._guest, self._undo, self._journal, self._supervision)
            Deferred.fromCoroutine(force.apply(str(verdict.error))).addErrback(lambda failure: self._interrupt(failure.value))
        else:
            self._alarm(verdict.error)

    def _interrupt(self, cause: BaseException | None) -> bool:
        if self._forward is None or not self._life.advance(Trigger.INTERRUPT):
            return False
        self._cause = cause or CancelledError()  # whatever the step that is cancelled makes of it
        self._reactor.callLater(0, self._forward.cancel)  # not now: this may be called from inside of it
        return True

    async def _run(self) -> Progress:
        self._life.advance(Trigger.START)
        try:
            self._forward = Deferred.fromCoroutine(self._steps())
            await self._forward
        except (OutcomeUnknown, GuestLost) as error:
            raise await self._abandon(error) from error
        except BaseException as error:
            raise await self._roll_back(error) from None
        await self._confirm()
        return self._supervision.meter.finish(Phase.COMPLETED, self._downtime)

    async def _steps(self) -> None:
        self._monitor.when_lost().addCallback(self._alarm)
        self._supervision.meter.enter(Phase.PREPARE)
        self._sampler.start()
        if await self._recovery.run():
            return  # it is there
        disks, ingress = await self._prepare()
        mirrors = await self._mirror(disks, ingress)
        outgoing, ram = await self._send(mirrors, disks)
        switchover = await self._switch_over(mirrors, outgoing, ram)
        await self._finish()
        with in_doubt(self.settings.vm):
            await self._settle(switchover)

    async def _prepare(self) -> tuple[dict[str, Disk], Ingress]:
        departure = await self._survey()
        await self._journal.open(self._guest.runs)
        self._tidy.push("close the control channel", self._session.close)
        await self._session.open()
        self._undo.push("undo the destination's session", self._session.abort)
        target, found = await self._session.prepare(departure)
        for finding in found:
            self.checklist.add(finding)
        self.checklist.raise_failures(self.settings.vm)
        self._supervision.meter.expect_memory(departure.machine.memory)
        names = {block_name(self.session, number): disk for number, disk in enumerate(departure.disks)}
        return names, await self._ingresses.enter(target, "nbd", farewell=lambda: Deferred.fromCoroutine(self._part_from_disks()))

    async def _survey(self) -> Departure:
        """Check whether the VM can leave, and which disks go with it; changes nothing."""
        with suppress(NotMigratable):  # it is a finding, below
            await self._guest.check()
        await self._constancy.begin()
        departure = await depart(self.checklist, self._monitor, self.settings)
        if self.checklist.level is Level.FAILURE:
            self._tidy.push("close the control channel", self._session.close)
            await self._session.consult(self.checklist, departure)
        self.checklist.refuse()
        for left in departure.left_out:
            self.log.info("{vm}: {left}", vm=self.settings.vm, left=left)
        return departure

    async def _part_from_disks(self) -> None:
        """A disk's connection has ended at the far side. While the session can be renewed, QEMU connects again; later it must not wait."""
        if not self._session.renewable:
            await self._mirrors.sever()

    async def _mirror(self, disks: dict[str, Disk], ingress: Ingress) -> Mirrors:
        each = [Mirror(self._monitor, self._reactor, disk, name, ingress, self._alarm) for name, disk in disks.items()]
        mirrors = self._mirrors = Mirrors(self._monitor, each)
        await self._supervision.convergence.begin(mirrors)
        self._supervision.meter.expect(disks)
        self._supervision.meter.converge(self._supervision.convergence.measures)  # known from the phase's first report on
        self._supervision.meter.enter(Phase.MIRROR)
        await mirrors.start(self._undo, self.settings, self.budget.part(len(mirrors)))
        await self.budget.limit_disks(mirrors)
        await mirrors.ready()
        await self._supervision.convergence.keep()
        self._supervision.meter.copied()
        self._supervision.meter.enter(Phase.READY)
        return mirrors

    async def _send(self, mirrors: Mirrors, disks: dict[str, Disk]) -> tuple[Outgoing, Ingress]:
        meter, wanted = self._supervision.meter, self.settings.connections
        hold = Hold(self._reactor, self._monitor, self.moment, meter, wanted)
        await hold.before()
        capabilities = ("events", "pause-before-switchover", *self._supervision.convergence.capabilities)
        await self.budget.limit_memory(self._tuning, self._undo, capabilities)
        outgoing = Outgoing(self._monitor)
        await together(require_unblocked(self._monitor), suitable(self._monitor, End.SOURCE))  # the next steps use up the other QEMU
        await self._constancy.check()
        self._copies = copies = Copies(self._monitor, disks, leave=Belonging.BITMAPS in self.settings.leave_behind)
        await copies.make(self._undo, self._tuning)
        await spread(self._tuning, self._undo, wanted)
        self._undo.push("let the guest run on", lambda: self._guest.resume(self._reactor))
        self._undo.push("cancel the migration of the memory", outgoing.cancel)
        self._undo.push("cancel the mirrors", mirrors.cancel)
        awaited = await self._session.listen(copies.passengers, wanted)
        await copies.restrict(awaited.bitmaps, self._tuning)
        if awaited.connections != wanted:
            self.log.warn("{vm}: the destination takes its memory over one connection only", vm=self.settings.vm)
            await gather(self._monitor)
        ram = await self._ingresses.enter(awaited.target, "ram", urgent=True)
        meter.enter(Phase.RAM)
        await self._journal.memory_begins(self._guest.runs)
        await hold.start(outgoing, ram)
        await self._constancy.check()  # once more: from here on QEMU itself refuses to add or remove a device
        await hold.until_paused(outgoing, ram)
        return outgoing, ram

    async def _switch_over(self, mirrors: Mirrors, outgoing: Outgoing, ram: Ingress) -> Switchover:
        self._supervision.meter.enter(Phase.SWITCHOVER)
        seconds = None if self._supervision.watchdog.forced else self.settings.timeouts.limit(Phase.SWITCHOVER)
        switchover = Switchover(self._reactor, self._guest, self._journal, mirrors, outgoing, ram, self._carrier, seconds)
        await switchover.drain(self._look_once_more())
        self._supervision.meter.copied()
        await switchover.send()
        return switchover

    async def _look_once_more(self) -> None:
        """Whether the machine and its bitmaps are still as they were when the copying began."""
        assert self._copies is not None
        await together(self._constancy.check(), self._copies.check())
        self._constancy.end()

    async def _finish(self) -> None:
        self._supervision.meter.enter(Phase.FINISH)
        if not self._life.advance(Trigger.HAND_OVER):
            raise CancelledError
        control = self._session.control
        assert control is not None
        await Handover(self._reactor, self._carrier, control, self.session, self.settings, self._secret).finish(self._guest.runs)

    async def _settle(self, switchover: Switchover) -> None:
        """It runs there. Until it was watched for a moment, the source's QEMU is kept."""
        self._undo.forget()
        self._downtime = self._supervision.meter.paused(switchover.pause(self._session.round_trip))
        if self.settings.settle:
            self._supervision.meter.arrived(self._downtime)
            wait, secret = self.settings.steps.settle, self._secret
            await ask(self._reactor, self._carrier, self.settings, self.session, self._session.control, wait, secret, self._downtime)

    async def _roll_back(self, error: BaseException) -> BaseException:
        """Undo everything; returns the error to raise."""
        self._life.advance(Trigger.FAIL)
        self._sampler.stop()
        switching = self._supervision.meter.now.phase is Phase.SWITCHOVER
        self._supervision.meter.enter(Phase.ROLLBACK)
        self._constancy.end()
        if (lost := self._session.lost) is not None and isinstance(error, NbdtunError):
            error = LinkLost(f"{lost}; {error}")  # a failure without a session is a consequence of its loss
        self._cause = cause = self._cause or error
        diagnosis = succeed("") if isinstance(cause, CancelledError) else Deferred.fromCoroutine(self._session.diagnose())
        self._ingresses.shut_first(self._undo, self._monitor, switching=switching, several=bool(self.settings.connections))
        self._undo.push("cut the mirrors off", self._mirrors.sever)  # first: a node that has lost its connection can no longer be yanked
        renewed = await self._monitor.renew()
        left = [*await self._undo.unwind(), *out_of_touch(self._monitor, renewed)]
        await self._guest.look()
        found = await diagnosis
        if not left:
            self._tidy.push("erase the migration's journal", self._journal.close)
        await self._close()
        if isinstance(cause, CancelledError):
            self._supervision.meter.finish(Phase.CANCELLED, error="; ".join(["cancelled", *left]))
            return cause
        if not isinstance(cause, NbdtunError):
            self.log.failure("{vm}: a bug in nbdtun", failure=Failure(cause), vm=self.settings.vm)
        failure = failure_of(cause, found, left)
        self._supervision.meter.finish(Phase.FAILED, None, failure)
        return failure

    async def _abandon(self, error: OutcomeUnknown | GuestLost) -> OutcomeUnknown | GuestLost:
        """The outcome is unknown, or the guest is lost: nothing may be undone, and the source stays as it is. Returns what to raise."""
        self._undo.forget()
        if lost := isinstance(error, GuestLost):  # an operator may let it go on
            self._tidy.push("restore the migration's parameters", self._tuning.restore)
        error = await as_it_stands(self._monitor, error)
        await self._close()
        self._supervision.meter.finish(Phase.LOST if lost else Phase.UNKNOWN, self._downtime, error)
        return error

    async def _confirm(self) -> None:
        """It runs there. A failure to tidy up here is only worth a warning."""
        self._undo.forget()
        with suppress(NbdtunError):
            self._supervision.meter.memory(await query_migration(self._monitor))
        if self.settings.keep_source:
            self._tidy.push("remove the disks' nodes", self._mirrors.remove)
            self._tidy.push("erase the migration's journal", self._journal.close)
            self._tidy.push("restore the migration's parameters", self._tuning.restore)
            if self._copies is not None:
                self._tidy.push("remove the copies of the bitmaps", self._copies.remove)
        else:
            self._tidy.push("end the source QEMU, which is paused", lambda: self._guest.end(self._reactor))
        await self._close()

    async def _close(self) -> None:
        self._sampler.stop()
        self._constancy.end()
        self._guest.unwatch()
        for line in await self._tidy.unwind():
            self.log.warn("{vm}: {line}", vm=self.settings.vm, line=line)
        self._journal.abandon()
        self._life.advance(Trigger.END)
