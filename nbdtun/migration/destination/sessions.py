"""
The destination: the VMs that it serves, their sessions, and the answers to a source's commands.

One VM has one session at a time. A session belongs to the control channel that began it: when that channel is lost for good (it
outlives its links), the session is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from twisted.internet.interfaces import IReactorTime

from nbdtun.errors import DestinationFailed, MonitorError, MonitorLost, NbdtunError, NotMigratable, ShuttingDown, VMUnknown
from nbdtun.logs import make_logger
from nbdtun.migration.bond import Bond, Claim
from nbdtun.migration.capacity import Capacity
from nbdtun.migration.carrier import Egress
from nbdtun.migration.catalogue import DESERTED, DESTINATION
from nbdtun.migration.check.arrival import Wanted, arrive
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import Outcome, Ping, Trouble
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.orphans import Orphans
from nbdtun.migration.destination.outcome import find_loss, find_outcome
from nbdtun.migration.destination.register import Entry, Register
from nbdtun.migration.destination.session import Session, Surroundings
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import StepTimeouts
from nbdtun.migration.vm.machine import run_state
from nbdtun.ownership.reach import Credentials
from nbdtun.units import listed

PING_SECONDS = 5.0
STOPPED = "the destination's daemon was stopped"

_BUSY = "{} is already being migrated to this destination by another session"

#: Whether a source may know that a VM is here: it has a right to it.
May = Callable[[str], bool]


def _none(vm: str) -> bool:
    return False


class _Monitor(Monitor):
    """A monitor whose errors are read at the source, where the same path may lead to another QEMU."""

    async def connect(self) -> None:
        """
        Connect and negotiate.

        :raise MonitorError: with the VM and the host as well.
        """
        try:
            await super().connect()
        except MonitorLost:
            raise
        except MonitorError as error:
            raise MonitorError(f"{self.name}: {error.what}", error.remedy) from error


class Sessions:
    """
    Serves the VMs of the table ``vms``, which maps names to the QMP sockets of QEMUs that wait for their migration.

    The table is read when it is needed, so it may change. ``places`` are the forms of the sockets that bring a name into it.
    ``egresses`` makes a session's end of the tunnel, for a session's id and QEMU's user. ``surroundings`` adds findings about QEMU's
    surroundings to a check.
    """

    log = make_logger()

    def __init__(
        self,
        reactor: IReactorTime,
        vms: Mapping[str, str],
        egresses: Callable[[str, Credentials], Egress],
        steps: StepTimeouts | None = None,
        surroundings: Surroundings = lambda checklist, qemu: None,
        places: Sequence[str] = (),
    ) -> None:
        self.reactor = reactor
        self.steps = steps or StepTimeouts()
        self._vms, self._places = vms, places
        self._egresses = egresses
        self._surroundings = surroundings
        self._orphans = Orphans(self.monitor)
        self.register = Register(reactor)
        self._closed = False
        self.capacity = Capacity()
        #: The state in which a session has ended that an earlier process had: of a VM, with this id or any.
        self.recall: Callable[[str, str | None], State | None] = lambda vm, ident: None

    def __repr__(self) -> str:
        return f"<Sessions of {', '.join(self._vms) or 'no VM'}, {len(self.register.busy)} sessions>"

    def start(self) -> None:
        """End the QEMUs that a killed daemon, or a killed process of this one, has left in the middle of their memory."""
        self._orphans.look([vm for vm in self._vms if vm not in self.register.busy])

    def close(self) -> None:
        """Begin no more sessions; those under way go on."""
        self._closed = True

    async def stop(self) -> None:
        """Undo all sessions that can be undone, wait for the others, and then for their sources to receive the reports."""
        await self._orphans.stop()
        self.register.hurry()
        await self.end(self.register.busy.values(), STOPPED)

    async def end(self, busy: Iterable[Entry], reason: str) -> None:
        """Undo these sessions as far as possible, wait for the others, and for their sources to receive the reports."""
        for each in tuple(busy):
            stays = f"{each.vm} stays at the source; migrate it again when the daemon runs"
            self._report(each.control, each.session.ident, DestinationFailed(f"{each.vm}: {reason}", stays))
            await each.session.abort(reason)
        await self.register.settled()

    async def begin(self, vm: str, ident: str, control: Control, bond: Bond, may: May = _none) -> Session:
        """
        A new session for ``vm``, with this ``bond`` to its source. As everywhere here, errors name other VMs that the source ``may`` know.

        :raise VMUnknown: there is no such VM.
        :raise ShuttingDown: the daemon is shutting down.
        :raise NotMigratable: it has another session.
        :raise TooManyArrivals: as many VMs arrive as may.
        """
        self.check_open(vm, may)
        if ident in self.register:
            raise NotMigratable(f"{vm}: session {ident[:8]} already exists")
        await self._displace(vm)
        if vm in self.register.busy:
            raise NotMigratable(_BUSY.format(vm))
        self.capacity.admit(vm, len(self.register.busy))
        tell = partial(self._report, control, ident)
        session = Session(self.reactor, ident, self.monitor(vm), partial(self._bound, bond), tell, self.steps, self._surroundings, bond)
        self.register.add(Entry(vm, session, control, bond, self.reactor.seconds()))
        return session

    def _bound(self, bond: Bond, ident: str, qemu: Credentials) -> Egress:
        egress = self._egresses(ident, qemu)
        egress.tie(bond)
        return egress

    def check_open(self, vm: str, may: May = _none) -> None:
        """Refuse an unknown VM; and every VM while the daemon is shutting down (:exc:`ShuttingDown`)."""
        self._check_known(vm, may)
        if self._closed:
            raise ShuttingDown(f"{vm}: the destination's daemon is shutting down", "migrate it when the daemon has been restarted")

    def _check_known(self, vm: str, may: May) -> None:
        if vm not in self._vms:
            allowed = list(filter(may, self._vms))
            known = f"it has {listed(allowed)}; " if allowed else ""
            remedy = f"start `nbdtun dest` with --vm {vm}=QMP-SOCKET"
            if self._places:
                remedy = f"its QEMU there must have the QMP socket {' or '.join(self._places)}"
            raise VMUnknown(f"the destination has no VM {vm!r}", f"{known}{remedy}")

    def monitor(self, vm: str) -> Monitor:
        """A new monitor of that VM, not connected yet."""
        return _Monitor(self.reactor, self._vms[vm], f"{vm} at the destination", self.steps.command)

    async def _displace(self, vm: str) -> None:
        """Abort the session of a killed source: it would block a new one."""
        if vm in self.register.busy and await self._deserted(vm):
            session = self.register.busy[vm].session
            self.log.info("{vm}: session {session} is aborted, its source does not answer", vm=vm, session=session.ident[:8])
            await session.abort("its source did not answer, and a new session replaced it")

    async def _deserted(self, vm: str) -> bool:
        """Whether the source of the VM's session no longer answers."""
        try:
            await self.register.busy[vm].control.ask(Ping, seconds=PING_SECONDS)
        except NbdtunError:
            return vm in self.register.busy
        return False

    async def check(self, checklist: Checklist, vm: str, wanted: Wanted, may: May = _none) -> None:
        """Check whether ``vm`` could come here now, and change nothing."""
        with checklist.collecting(DESTINATION):
            self.check_open(vm, may)
            if vm not in self.register.busy:
                await self._examine(checklist, vm, wanted)
            elif await self._deserted(vm):
                what = f"{vm} has a session here whose source does not answer; its QEMU cannot be checked meanwhile"
                checklist.add(DESERTED(what))
            else:
                raise NotMigratable(_BUSY.format(vm))

    async def _examine(self, checklist: Checklist, vm: str, wanted: Wanted) -> None:
        monitor = self.monitor(vm)
        try:
            await monitor.connect()
            await arrive(checklist, monitor, wanted)
            if monitor.credentials is not None:
                self._surroundings(checklist, monitor.credentials)
        finally:
            await monitor.close()

    def _report(self, control: Control, ident: str, error: NbdtunError) -> None:
        control.notify(Trouble, session=ident, code=error.code, reason=str(error))

    async def settle(self, vm: str, ident: str | None, claim: Claim, may: May = _none) -> tuple[Outcome, str]:
        """
        The answer to :class:`~nbdtun.migration.control.commands.Settle`, and the reason if the guest is lost.

        :raise VMUnknown: there is no such VM.
        :raise NotMigratable: another session uses it.
        :raise MonitorError: its QEMU does not answer.
        """
        self._check_known(vm, may)
        session = self.register.find(ident, claim) if ident else self.register.last(vm, claim)
        if session is not None:
            watched = bool(session.cleaned_up.called)
            state = await session.abort("its source asked for the outcome")
            if state is State.FINISHED:
                lost = await self._loss(vm, session, watched)
                return (Outcome.LOST, lost) if lost else (Outcome.ARRIVED, "")
            if ident and state is State.ABORTED:
                return Outcome.GONE, ""
        elif ident in self._orphans:
            return Outcome.GONE, ""
        elif vm in self.register.busy:
            raise NotMigratable(_BUSY.format(vm))
        remembered = self.recall(vm, ident)
        latest = self.register.latest.get(vm)
        arrived = session is None and latest is not None and latest.state is State.FINISHED
        outcome, why = await find_outcome(self.monitor(vm), claim, known=ident is not None, remembered=remembered, arrived=arrived)
        return (Outcome.GONE if outcome is Outcome.FRESH and not ident else outcome), why

    async def _loss(self, vm: str, session: Session, watched: bool) -> str:
        """Why the guest of a session that has finished is lost; empty if it is not. One that is watched no more is looked at again."""
        if not watched:
            await session.cleaned_up
            if session.doubt is not None:
                raise session.doubt
        return session.fate.lost or (await find_loss(self.monitor(vm)) if watched else "")

    async def query(self, ident: str, vm: str, claim: Claim) -> dict[str, str]:
        """The answer to :class:`~nbdtun.migration.control.commands.Query`: a session's own reason goes before that of a silent QEMU."""
        session = self.register.find(ident, claim)
        state = "unknown" if session is None else session.state.value
        reason = "" if session is None else await session.diagnose()
        machine = await self._query(vm) if session is None or session.state.over else {}
        return {"state": state, "machine": "unreachable", "reason": ""} | machine | ({"reason": reason} if reason else {})

    async def machine(self, vm: str) -> str:
        """
        The run state of the QEMU of ``vm``, which has no session.

        :raise MonitorError: it cannot be asked.
        """
        monitor = self.monitor(vm)
        try:
            await monitor.connect()
            return await run_state(monitor)
        finally:
            await monitor.close()

    async def _query(self, vm: str) -> dict[str, str]:
        if vm not in self._vms or vm in self.register.busy:
            return {}
        try:
            return {"machine": await self.machine(vm)}
        except MonitorError as error:
            return {"reason": str(error)}
