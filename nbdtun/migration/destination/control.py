"""
The destination's end of a control channel: it parses a source's commands, checks that source's rights, and answers.
"""

from __future__ import annotations

from time import time
from typing import Any

from twisted.internet.defer import Deferred

from nbdtun.errors import DestinationFailed, NotMigratable
from nbdtun.migration.bond import Claim, Party
from nbdtun.migration.capacity import free_memory
from nbdtun.migration.check.arrival import Wanted
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.command import Check
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import BY_SOURCE, MIGRATION, Abort, Finish, Listen, Ping, Prepare, Query, Room, Settle
from nbdtun.migration.control.rows import bitmaps_of, disks_of, rows_of_bitmaps, rows_of_findings, rows_of_spaces
from nbdtun.migration.destination.session import Session
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.migration.vm.hardware.model import Hardware
from nbdtun.versions import Agreed


class DestinationControl(Control):
    """The destination's end of one control channel: it begins at most one session."""

    other = "the source"
    here = "at the destination"

    def __init__(self, destination: Sessions, party: Party | None = None) -> None:
        super().__init__(destination.reactor)
        self._destination = destination
        self._party = party or Party()
        self._session: Session | None = None
        self.when_lost().addCallback(self._abandon)

    def _abandon(self, lost: Exception) -> None:
        if self._session is not None:
            Deferred.fromCoroutine(self._session.abort(str(lost))).addErrback(
                lambda failure: self.log.failure("undoing a session failed", failure=failure)
            )

    def _own(self, session: str, secret: bytes | None) -> Session:
        """Return a session of this source (:exc:`DestinationFailed` as for one that is unknown)."""
        return self._destination.register.session(session, self._party.claim(secret))

    def _check(self, vm: str, session: str | None) -> None:
        """Check this source's right to a VM; for a session that it has begun over this channel, as it was then."""
        begun = self._session is not None and self._session.ident == session
        self._party.check(vm) if begun else self._party.check_anew(vm)

    @Ping.responder
    def ping(self) -> dict[str, Any]:
        return {}

    @Room.responder
    def room(self) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            return {"memory": free_memory()}

        return self.respond(work)

    @Check.responder
    def check(self, vm: str, **told: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            self._party.check_anew(vm)
            agreed = _agreed(told)
            checklist = Checklist()
            await self._destination.check(checklist, vm, _wanted(**told), self._party.may)
            found = {"findings": rows_of_findings(checklist.findings), "spaces": rows_of_spaces(checklist.spaces)}
            return agreed.fields() | found | {"time": round(time() * 1e6)}

        return self.respond(work, vm=vm)

    @Prepare.responder
    def prepare(self, session: str, secret: bytes | None, vm: str, **told: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            self._party.check_anew(vm)
            agreed = _agreed(told)
            if self._session is not None and not self._session.state.over:
                raise NotMigratable(f"{vm}: this control channel already has a session")
            self._session = begun = await self._destination.begin(vm, session, self, self._party.bond(secret), self._party.may)
            self.log.info("{vm}: session {session} begins, from {peer}", peer=self._party.name or "a source without a certificate")
            if self.lost:
                await begun.abort("its control channel was lost")
            try:
                target, checklist = await begun.prepare(_wanted(**told))
            except DestinationFailed:
                self._destination.check_open(vm, self._party.may)  # then this is why it was ended
                raise
            answer = {"target": target, "findings": rows_of_findings(checklist.findings), "qemu": begun.qemu or None}
            return agreed.fields() | answer

        return self.respond(work, vm=vm, session=session[:8])

    @Listen.responder
    def listen(self, session: str, secret: bytes | None, bitmaps: list[dict[str, Any]], connections: int | None) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            awaited = await self._own(session, secret).listen(bitmaps_of(bitmaps), connections or 0)
            return {"target": awaited.target, "bitmaps": rows_of_bitmaps(awaited.bitmaps), "connections": awaited.connections or None}

        return self.respond(work, session=session[:8])

    @Finish.responder
    def finish(self, session: str, secret: bytes | None, run: bool, settle: int) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            await self._own(session, secret).finish(run, settle / 1000)
            return {}

        return self.respond(work, session=session[:8])

    @Abort.responder
    def abort(self, session: str, secret: bytes | None) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            state = await self._own(session, secret).abort(BY_SOURCE)
            return {"state": state.value}

        return self.respond(work, session=session[:8])

    @Settle.responder
    def settle(self, vm: str, session: str | None, secret: bytes | None, downtime: int | None) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            self._check(vm, session)
            claim = self._party.claim(secret)
            if downtime is not None and session is not None:
                self._destination.register.paused(session, claim, downtime / 1000)
            outcome, reason = await self._destination.settle(vm, session, claim, self._party.may)
            return {"outcome": outcome, "reason": reason}

        return self.respond(work, vm=vm)

    @Query.responder
    def query(self, session: str, secret: bytes | None, vm: str) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            self._party.check(vm)
            return await self.state_of(session, vm, self._party.claim(secret))

        return self.respond(work, vm=vm, session=session[:8])

    async def state_of(self, session: str, vm: str, claim: Claim) -> dict[str, str]:
        """The answer to :class:`~nbdtun.migration.control.commands.Query`."""
        return await self._destination.query(session, vm, claim)


def _wanted(hardware: Hardware, disks: list[dict[str, Any]], bitmaps: list[dict[str, Any]], allowed: list[dict[str, Any]]) -> Wanted:
    return Wanted(hardware, disks_of(disks), tuple(row["name"] for row in allowed), bitmaps_of(bitmaps))


def _agreed(told: dict[str, Any]) -> Agreed:
    """Take the offer out of ``told``, and answer it."""
    return MIGRATION.agree(told.pop("lowest"), told.pop("highest"), told.pop("features"))
