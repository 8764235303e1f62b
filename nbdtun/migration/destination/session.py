"""
One session at the destination: what is done to the waiting QEMU for one migration, each step beside its undo.

The guest runs here only after the source has sent Finish: QEMU itself has the order not to start it. So until then everything can be
undone, and the first of Finish and Abort wins.

A QEMU's one chance to receive its memory cannot be undone. After Listen, a failure ends the destination QEMU: 7.2 exits by itself, newer
ones stay just long enough to report why.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from nbdtun.errors import CommandFailed, DestinationFailed, MonitorError, MonitorLost, NbdtunError, NotMigratable, OutcomeUnknown
from nbdtun.logs import make_logger
from nbdtun.migration.bond import Bond
from nbdtun.migration.carrier import Egress
from nbdtun.migration.check.arrival import Wanted, arrive
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.destination.arrival import Arrival
from nbdtun.migration.destination.incarnation import mark
from nbdtun.migration.destination.life import TRANSITIONS, State, Trigger
from nbdtun.migration.destination.reception import Reception
from nbdtun.migration.destination.recovery import clean_up, end, end_used_up
from nbdtun.migration.ids import nbd_target, ram_target
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import End, Journal
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.settings import StepTimeouts
from nbdtun.migration.supervision.constancy import Constancy
from nbdtun.migration.vm.bitmaps import Awaited, Passenger
from nbdtun.migration.vm.capabilities import suitable
from nbdtun.migration.vm.exports import Exports, Pairing, pair
from nbdtun.migration.vm.fate import Fate, fallen
from nbdtun.migration.vm.machine import announce
from nbdtun.migration.vm.memory import Incoming, Tuning, query_migration
from nbdtun.ownership.reach import Credentials
from nbdtun.states import Life

R = TypeVar("R")
#: Checks the surroundings of a QEMU with these credentials, for its checklist.
Surroundings = Callable[[Checklist, Credentials], object]
HEARTBEAT_SECONDS = 5.0


class Session:
    """
    The session ``ident`` of the VM behind ``monitor``, which it connects, and closes at the end.

    ``egresses`` makes the session's end of the tunnel for QEMU's user, ``surroundings`` checks what is around that QEMU. If the session
    fails by itself, ``tell`` is called with the error. ``reason`` is why it was undone, ``reached`` how far it had come. ``size`` is how
    large its disks are, in bytes, and ``qemu`` the mark of its QEMU, once they are known. ``over`` fires when its outcome is certain. After
    a success ``fate`` has what became of the guest while it was watched, ``doubt`` why that is unknown, and ``cleaned_up`` fires when that
    is over, and all is cleaned up.
    """

    log = make_logger()

    def __init__(
        self,
        reactor: IReactorTime,
        ident: str,
        monitor: Monitor,
        egresses: Callable[[str, Credentials], Egress],
        tell: Callable[[NbdtunError], None],
        steps: StepTimeouts,
        surroundings: Surroundings = lambda checklist, qemu: None,
        bond: Bond | None = None,
    ) -> None:
        self.ident = ident
        self.reason = ""
        self.size: int | None = None
        self.qemu = ""
        self.over: Deferred[None] = Deferred()
        self.cleaned_up: Deferred[None] = succeed(None)
        self.fate = Fate(reactor, monitor)
        self.doubt: MonitorError | None = None
        self._life = Life(TRANSITIONS)
        self.reached = self._life.state
        self._reactor = reactor
        self._monitor = monitor
        self._egresses = egresses
        self._egress: Egress | None = None
        self._pairings: tuple[Pairing, ...] = ()
        self._tell = tell
        self._steps = steps
        self._surroundings = surroundings
        self._undo, self._tidy = (UndoStack(reactor, steps.undo) for _ in range(2))
        self._incoming = Incoming(monitor)
        self._journal = Journal(monitor, End.DESTINATION, ident, bond=bond)
        self._tuning = Tuning(monitor, self._journal.remember)
        self._constancy = Constancy(reactor, monitor, monitor.name, self._fail)
        self._step: Deferred[Any] | None = None
        self._arrival: Arrival | None = None
        self._heartbeat = LoopingCall(self._beat)
        self._heartbeat.clock = reactor

    def __repr__(self) -> str:
        return f"<Session {self.ident[:8]} of {self._monitor.name} {self.state.value}>"

    @property
    def state(self) -> State:
        """Its present state."""
        return self._life.state

    def _advance(self, trigger: Trigger) -> bool:
        """
        Apply ``trigger``; returns whether the state has changed.

        :raise NotMigratable: it is too early or too late for this trigger.
        """
        why = f": {self.reason}" if self.reason else ""
        advanced = self._life.advance(trigger, NotMigratable(f"{self._monitor.name}: this session is {self.state.value}{why}"))
        if advanced and self.state.over:
            self.over.callback(None)
        elif advanced and self.state is not State.ABORTING:
            self.reached = self.state
        return advanced

    async def prepare(self, wanted: Wanted) -> tuple[str, Checklist]:
        """
        Check everything, then serve the disks; returns the target of the exports, and the findings.

        :raise NbdtunError: it failed, and everything is undone.
        """
        self._advance(Trigger.PREPARE)
        self.size = sum(disk.size for disk in wanted.disks)
        answer = await self._attempt(self._prepare(wanted))
        self._advance(Trigger.PREPARED)
        return answer

    async def _prepare(self, wanted: Wanted) -> tuple[str, Checklist]:
        checklist = Checklist()
        await self._connect()
        await self._take_over_from_the_dead()
        await self._constancy.begin()
        disks = await arrive(checklist, self._monitor, wanted)
        qemu = self._monitor.credentials or Credentials(0, 0, 0)
        if self._monitor.credentials is not None:
            self._surroundings(checklist, qemu)
        checklist.refuse()
        self._pairings = pairings = pair(self.ident, wanted.disks, disks)
        await self._journal.open(runs=False)
        await self._incoming.hold()
        self._egress = egress = self._egresses(self.ident, qemu)
        self._undo.push("remove the session's sockets", egress.close)
        await self._tuning.set(self._undo, ("events", "late-block-activate"), {})
        exports = Exports(self._reactor, self._monitor, f"{egress.directory}/nbd.sock")
        self._arrival = Arrival(self._reactor, self._incoming, self._constancy, exports)
        await exports.start(pairings, self._undo)
        egress.admit(nbd_target(self.ident), exports.path)
        return nbd_target(self.ident), checklist

    async def _connect(self) -> None:
        await self._monitor.connect()
        self._tidy.push("close the monitor", self._monitor.close)
        self._monitor.when_lost().addCallback(self._fail)
        self.qemu = mark(self._monitor)
        self._heartbeat.start(HEARTBEAT_SECONDS, now=False)
        self._undo.push("stop polling QEMU", self._stop_watching)

    async def _take_over_from_the_dead(self) -> None:
        await end_used_up(self._monitor)
        for name in await clean_up(self._monitor):
            self.log.info("{vm}: removed {name}, left over from a killed daemon", vm=self._monitor.name, name=name)

    async def listen(self, bitmaps: tuple[Passenger, ...] = (), connections: int = 0) -> Awaited:
        """
        Let QEMU wait for its memory, over so many ``connections`` beside the main one, and for ``bitmaps``; returns what it takes.

        :raise NbdtunError: it failed, and the session is undone.
        """
        self._advance(Trigger.LISTEN)
        return await self._attempt(self._listen(bitmaps, connections))

    async def _listen(self, bitmaps: tuple[Passenger, ...], connections: int) -> Awaited:
        egress, arrival = self._egress, self._arrival
        assert egress is not None
        assert arrival is not None
        path = f"{egress.directory}/ram.sock"
        await suitable(self._monitor, End.DESTINATION)
        await self._constancy.check()
        reception = Reception(self._monitor, self._tuning, self._undo, self._pairings)
        taken, several = await reception.expect(bitmaps), await reception.spread(connections)
        await self._journal.memory_begins(runs=False)
        self._undo.push("end QEMU", lambda: end(self._monitor, stuck=several > 0))
        if several:  # its main loop waits for them, for as long as a lost link is tried again
            self._rest()
        await self._incoming.listen(path)
        arrival.begin(self._fail)
        egress.admit(ram_target(self.ident), path)
        return Awaited(ram_target(self.ident), taken, several)

    async def finish(self, run: bool, settle: float = 0.0) -> None:
        """
        Take over; with ``run`` the guest runs here afterwards. Then it is watched for ``settle`` seconds.

        :raise OutcomeUnknown: QEMU did not answer ``cont``.
        :raise NbdtunError: anything else; the guest does not run here, and the session is undone.
        """
        self._advance(Trigger.FINISH)
        await self._attempt(self._finish(run))
        self.cleaned_up = Deferred()
        self._advance(Trigger.FINISHED)  # the answer need not wait for the clean-up
        Deferred.fromCoroutine(self._watch_and_clean_up(run, settle)).addErrback(self._log_bug).chainDeferred(self.cleaned_up)

    async def _finish(self, run: bool) -> None:
        assert self._arrival is not None
        await self._arrival.over(self._steps.complete)
        await self._journal.note(handed_over=True, runs=run)
        self.fate.begin()
        if run:
            await self._run()

    async def _run(self) -> None:
        try:
            try:
                await self._incoming.run()
            except MonitorLost:  # QEMU may still live: connect and try again
                if not await self._monitor.renew():
                    raise
                if not await fallen(self._monitor):  # else it has run, and its fate is found below
                    await self._incoming.run()
        except CommandFailed:
            raise  # QEMU refused, so the guest does not run
        except Exception as error:  # after any other error, QEMU may have run the guest
            self.reason = str(error)
            self._advance(Trigger.LOSE)
            await self._let_go()
            raise OutcomeUnknown(f"{error}; the destination's QEMU had just been told to run it") from error

    async def _let_go(self) -> None:
        """The outcome is uncertain: undo nothing, but free the monitor and the journal for the process that will settle it."""
        self._undo.forget()
        await self._stop_watching()
        await self._monitor.close()
        assert self._egress is not None
        await self._egress.close()
        self._journal.abandon()

    async def _watch_and_clean_up(self, run: bool, settle: float) -> None:
        if run:
            await announce(self._monitor)
        if settle:
            try:
                await self.fate.watch(settle)
            except MonitorError as error:
                self.doubt = error
        await self._clean_up_after()

    async def _clean_up_after(self) -> None:
        """It has arrived: clean up. A failure here is only worth a warning."""
        self._undo.forget()
        ours = self._tidy
        ours.push("erase the session's journal", self._journal.close)
        assert self._egress is not None
        ours.push("remove the session's sockets", self._egress.close)
        ours.push("restore the migration's capabilities", self._tuning.restore)
        ours.push("stop polling QEMU", self._stop_watching)
        left = await ours.unwind()
        for line in () if self.fate.lost else left:  # its QEMU may have ended
            self.log.warn("{name}: {line}", name=self._monitor.name, line=line)
        self._journal.abandon()

    async def _attempt(self, work: Coroutine[Any, Any, R]) -> R:
        """Do one step, which an abort can interrupt; if it fails, undo the session."""
        step: Deferred[R] = Deferred.fromCoroutine(work)
        self._step = step
        try:
            return await step
        except BaseException as error:
            if self.state in (State.ABORTING, State.ABORTED):
                raise DestinationFailed(f"{self._monitor.name}: the session was ended: {self.reason}") from error
            if self.state is not State.UNCERTAIN:
                self._advance(Trigger.FAIL)
                await self._roll_back(str(error))
            raise
        finally:
            self._step = None

    async def abort(self, reason: str) -> State:
        """Undo everything, unless it is too late; waits for either. Safe to repeat."""
        if self._advance(Trigger.ABORT):
            if self.state is State.ABORTING:
                await self._roll_back(reason)
        elif not self.state.over:
            over: Deferred[None] = Deferred()
            self.over.addCallback(over.callback)
            await over
        return self.state

    async def _roll_back(self, reason: str) -> None:
        self.reason = reason
        if self._step is not None:
            self._step.cancel()
        if self._arrival is not None:
            self._arrival.cancel()
        # First: a client that has stopped within a request blocks QEMU and its monitor while the disks are drained.
        if self._egress is not None:
            await self._egress.dismiss()
        await self._monitor.renew()
        left = await self._undo.unwind()
        if not left:
            self._tidy.push("erase the session's journal", self._journal.close)
        for line in [*left, *await self._tidy.unwind()]:
            self.log.warn("{name}: {line}", name=self._monitor.name, line=line)
        self._journal.abandon()
        self._advance(Trigger.UNDONE)

    def _fail(self, error: BaseException | None) -> None:
        """A failure outside of any step."""
        if self.state in (State.PREPARED, State.LISTENING) and self._step is None:
            reason = error if isinstance(error, NbdtunError) else DestinationFailed(str(error))
            self._tell(reason)
            Deferred.fromCoroutine(self.abort(str(reason))).addErrback(self._log_bug)

    def _log_bug(self, failure: Failure) -> None:
        self.log.failure("undoing a session failed", failure=failure)

    def _beat(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._incoming.check()).addErrback(lambda failure: self._fail(failure.value))

    def _rest(self) -> None:
        """Ask QEMU nothing until the memory has arrived; an end of its process is heard of all the same."""
        self._constancy.rest()
        if self._heartbeat.running:
            self._heartbeat.stop()

    async def _stop_watching(self) -> None:
        self._constancy.end()
        self._rest()

    async def diagnose(self) -> str:
        """The reason for a failure here, as far as it is known; empty if there is none."""
        if self.state is State.LISTENING:
            with suppress(NbdtunError):
                return self.reason or (await query_migration(self._monitor)).error
        return self.reason
