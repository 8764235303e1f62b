"""
The destination: the VMs that it serves, their sessions, and the answers to a source's commands.

One VM has one session at a time. A session belongs to the control channel that began it: when that channel is lost for good (it
outlives its links), the session is undone. It is remembered for a while after its end, so that a source that lost the answer to
Finish can ask again over a new control channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nbdtun.deferreds import gather, with_timeout
from nbdtun.errors import DestinationFailed, MonitorError, NbdtunError, NotMigratable, VersionMismatch, VMUnknown
from nbdtun.logs import make_logger
from nbdtun.migration.carrier import Egress
from nbdtun.migration.check.arrival import Wanted, arrive
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.command import Check
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import VERSION, Abort, Finish, Listen, Outcome, Ping, Prepare, Query, Settle, Trouble
from nbdtun.migration.control.rows import disks_of, rows_of_findings
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.orphans import Orphans
from nbdtun.migration.destination.outcome import settle
from nbdtun.migration.destination.session import Session
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import StepTimeouts
from nbdtun.migration.vm.hardware.model import Hardware
from nbdtun.migration.vm.machine import run_state
from nbdtun.ownership.reach import Credentials

REMEMBERED = 256
PING_SECONDS = 5.0
FAREWELL_SECONDS = 5.0
STOPPED = "the destination's daemon was stopped"

#: Checks the surroundings of a QEMU with these credentials, for its checklist.
Surroundings = Callable[[Checklist, Credentials], object]

_BUSY = "{} is already being migrated to this destination by another session"


class Sessions:
    """
    Serves the VMs of the table ``vms``, which maps names to the QMP sockets of QEMUs that wait for their migration.

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
    ) -> None:
        self.reactor = reactor
        self.steps = steps or StepTimeouts()
        self._vms = dict(vms)
        self._egresses = egresses
        self._surroundings = surroundings
        self._sessions: dict[str, Session] = {}
        self._latest: dict[str, Session] = {}
        self._busy: dict[str, tuple[Session, Control]] = {}
        self._orphans = Orphans(self.monitor)

    def __repr__(self) -> str:
        return f"<Sessions of {', '.join(self._vms) or 'no VM'}, {len(self._busy)} sessions>"

    def start(self) -> None:
        """End the QEMUs that a killed daemon has left in the middle of their memory."""
        self._orphans.look(self._vms)

    def control(self) -> Control:
        """The protocol for one control channel."""
        return DestinationControl(self)

    async def stop(self) -> None:
        """Undo all sessions that can be undone, wait for the others, and then for their sources to receive the reports."""
        await self._orphans.stop()
        busy = tuple(self._busy.values())
        for session, control in busy:
            self._report(control, session.ident, DestinationFailed(STOPPED))
            await session.abort(STOPPED)
        await gather(self._farewell(control) for _, control in busy)
        for session in tuple(self._sessions.values()):
            await session.cleaned_up

    def _farewell(self, control: Control) -> Deferred[Any]:
        """Wait until the source hangs up, as it does when its part is done; not for longer than a limit."""
        return with_timeout(self.reactor, FAREWELL_SECONDS, control.when_lost(), TimeoutError).addErrback(lambda _: None)

    async def begin(self, vm: str, ident: str, control: Control) -> Session:
        """
        A new session for ``vm``.

        :raise VMUnknown: there is no such VM.
        :raise NotMigratable: it has another session.
        """
        self._check_known(vm)
        if ident in self._sessions:
            raise NotMigratable(f"{vm}: session {ident[:8]} already exists")
        await self._displace(vm)
        if vm in self._busy:
            raise NotMigratable(_BUSY.format(vm))
        session = Session(
            self.reactor, ident, self.monitor(vm), self._egresses, lambda error: self._report(control, ident, error), self.steps
        )
        self._remember(vm, session, control)
        return session

    def _check_known(self, vm: str) -> None:
        if vm not in self._vms:
            raise VMUnknown(f"the destination has no VM {vm!r}; start nbdtun-dest with --vm {vm}=QMP-SOCKET")

    def monitor(self, vm: str) -> Monitor:
        """A new monitor of that VM, not connected yet."""
        return Monitor(self.reactor, self._vms[vm], f"{vm} at the destination", self.steps.command)

    async def _displace(self, vm: str) -> None:
        """Abort the session of a killed source: it would block a new one."""
        if vm in self._busy and await self._deserted(vm):
            session, _ = self._busy[vm]
            self.log.info("{vm}: session {ident} is aborted, its source does not answer", vm=vm, ident=session.ident[:8])
            await session.abort("its source did not answer, and a new session replaced it")

    async def _deserted(self, vm: str) -> bool:
        """Whether the source of the VM's session no longer answers."""
        _, control = self._busy[vm]
        try:
            await control.ask(Ping, seconds=PING_SECONDS)
        except NbdtunError:
            return vm in self._busy
        return False

    async def check(self, checklist: Checklist, vm: str, wanted: Wanted) -> None:
        """Check whether ``vm`` could come here now, and change nothing."""
        with checklist.collecting("destination"):
            self._check_known(vm)
            if vm not in self._busy:
                await self._examine(checklist, vm, wanted)
            elif await self._deserted(vm):
                what = f"{vm} has a session here whose source does not answer; its QEMU cannot be checked meanwhile"
                checklist.warn("destination", what, "a new migration will replace that session")
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

    def _remember(self, vm: str, session: Session, control: Control) -> None:
        self._sessions[session.ident] = self._latest[vm] = session
        self._busy[vm] = (session, control)
        session.over.addCallback(lambda _: self._free(vm, session))
        over = [ident for ident, old in self._sessions.items() if old.state.over]
        for ident in over[: max(0, len(self._sessions) - REMEMBERED)]:
            del self._sessions[ident]

    def _free(self, vm: str, session: Session) -> None:
        if self._busy.get(vm, (None,))[0] is session:
            del self._busy[vm]
        why = f": {session.reason}" if session.reason else ""
        self.log.info("{vm}: session {ident} {state}{why}", vm=vm, ident=session.ident[:8], state=session.state.value, why=why)

    def _report(self, control: Control, ident: str, error: NbdtunError) -> None:
        control.notify(Trouble, session=ident, code=error.code, reason=str(error))

    def session(self, ident: str) -> Session:
        """
        The session of that id.

        :raise DestinationFailed: there is none, or none any more.
        """
        if ident not in self._sessions:
            raise DestinationFailed("the destination does not know this session; its daemon has been restarted")
        return self._sessions[ident]

    async def settle(self, vm: str, ident: str | None = None) -> Outcome:
        """
        The answer to :class:`~nbdtun.migration.control.commands.Settle`.

        :raise VMUnknown: there is no such VM.
        :raise NotMigratable: another session uses it.
        :raise MonitorError: its QEMU does not answer.
        """
        self._check_known(vm)
        session = self._sessions.get(ident) if ident else self._latest.get(vm)
        if session is not None:
            state = await session.abort("its source asked for the outcome")
            await session.cleaned_up
            if state is State.FINISHED:
                return Outcome.ARRIVED
            if ident and state is State.ABORTED:
                return Outcome.GONE
        elif ident in self._orphans:
            return Outcome.GONE
        elif vm in self._busy:
            raise NotMigratable(_BUSY.format(vm))
        outcome = await self._find_outcome(vm)
        return Outcome.GONE if outcome is Outcome.FRESH and not ident else outcome

    async def _find_outcome(self, vm: str) -> Outcome:
        monitor = self.monitor(vm)
        try:
            await monitor.connect()
            return await settle(monitor)
        finally:
            await monitor.close()

    async def query(self, ident: str, vm: str) -> dict[str, str]:
        """The answer to :class:`~nbdtun.migration.control.commands.Query`."""
        session = self._sessions.get(ident)
        state = "unknown" if session is None else session.state.value
        answer = {"state": state, "machine": "unreachable", "reason": "" if session is None else await session.diagnose()}
        if session is None or session.state.over:
            answer |= await self._query(vm)
        return answer

    async def _query(self, vm: str) -> dict[str, str]:
        if vm not in self._vms or vm in self._busy:
            return {}
        monitor = self.monitor(vm)
        try:
            await monitor.connect()
            return {"machine": await run_state(monitor)}
        except MonitorError as error:
            return {"reason": str(error)}
        finally:
            await monitor.close()


class DestinationControl(Control):
    """The destination's end of one control channel: it only parses and answers. It begins at most one session."""

    other = "the source"
    here = "at the destination"

    def __init__(self, destination: Sessions) -> None:
        super().__init__(destination.reactor)
        self._destination = destination
        self._session: Session | None = None
        self.when_lost().addCallback(self._abandon)

    def _abandon(self, lost: Exception) -> None:
        if self._session is not None:
            Deferred.fromCoroutine(self._session.abort(str(lost))).addErrback(
                lambda failure: self.log.failure("undoing a session failed", failure=failure)
            )

    @Ping.responder
    def ping(self) -> dict[str, Any]:
        return {}

    @Check.responder
    def check(self, version: int, vm: str, **told: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            _check_version(version)
            checklist = Checklist()
            await self._destination.check(checklist, vm, _wanted(**told))
            return {"findings": rows_of_findings(checklist.findings), "time": round(time() * 1e6)}

        return self.respond(work)

    @Prepare.responder
    def prepare(self, version: int, session: str, vm: str, **told: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            _check_version(version)
            if self._session is not None and not self._session.state.over:
                raise NotMigratable(f"{vm}: this control channel already has a session")
            self._session = begun = await self._destination.begin(vm, session, self)
            if self.lost:
                await begun.abort("its control channel was lost")
            target, checklist = await begun.prepare(_wanted(**told))
            return {"target": target, "findings": rows_of_findings(checklist.findings)}

        return self.respond(work)

    @Listen.responder
    def listen(self, session: str) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            return {"target": await self._destination.session(session).listen()}

        return self.respond(work)

    @Finish.responder
    def finish(self, session: str, run: bool) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            await self._destination.session(session).finish(run)
            return {}

        return self.respond(work)

    @Abort.responder
    def abort(self, session: str) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            state = await self._destination.session(session).abort("the source aborted it")
            return {"state": state.value}

        return self.respond(work)

    @Settle.responder
    def settle(self, vm: str, session: str | None) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            return {"outcome": await self._destination.settle(vm, session)}

        return self.respond(work)

    @Query.responder
    def query(self, session: str, vm: str) -> Deferred[Any]:
        return self.respond(lambda: self._destination.query(session, vm))


def _wanted(hardware: Hardware, disks: list[dict[str, Any]], allowed: list[dict[str, Any]]) -> Wanted:
    return Wanted(hardware, disks_of(disks), tuple(row["name"] for row in allowed))


def _check_version(version: int) -> None:
    if version != VERSION:
        raise VersionMismatch(f"the source speaks version {version} of the migration protocol, the destination {VERSION}")
