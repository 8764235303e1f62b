"""
The destination's end of a control channel, where libvirt's VMs may arrive too: it checks a source's rights, and answers.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from nbdtun.errors import NbdtunError, NotMigratable
from nbdtun.libvirt.commands import LIBVIRT, LibvirtFinish, LibvirtLook, LibvirtOutcome, LibvirtPrepare
from nbdtun.libvirt.far.arrival import Arrival
from nbdtun.libvirt.far.arrivals import Arrivals
from nbdtun.libvirt.values import Wanted
from nbdtun.migration.bond import Claim, Party
from nbdtun.migration.control.commands import Ping
from nbdtun.migration.destination.control import DestinationControl
from nbdtun.migration.destination.sessions import Sessions

#: Seconds in which a source answers that lives.
PING_SECONDS = 5.0


class LibvirtControl(DestinationControl):
    """The destination's end of one control channel: it begins at most one arrival."""

    def __init__(self, destination: Sessions, party: Party, arrivals: Arrivals) -> None:
        super().__init__(destination, party)
        self._rights = party
        self._arrivals = arrivals
        self._arrival: Arrival | None = None
        self.when_lost().addCallback(self._forsaken)

    def _forsaken(self, lost: Exception) -> None:
        if self._arrival is not None:
            ending = Deferred.fromCoroutine(self._arrival.abandon(str(lost)))
            ending.addErrback(lambda failure: self.log.error("{reason}", reason=failure.getErrorMessage(), code="libvirt"))

    async def _answers(self) -> bool:
        """Whether the source of this channel lives."""
        try:
            await self.ask(Ping, seconds=PING_SECONDS)
        except NbdtunError:
            return False
        return True

    async def state_of(self, session: str, vm: str, claim: Claim) -> dict[str, str]:
        """The answer to a query; a VM without a monitor of its own may be one of libvirt's."""
        answer = await super().state_of(session, vm, claim)
        if answer["machine"] != "unreachable" or answer["reason"]:
            return answer
        return answer | {"machine": await self._arrivals.state_of(vm) or "unreachable"}

    @LibvirtLook.responder
    def libvirt_look(self, wanted: Wanted, **offer: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            self._rights.check_anew(wanted.name)
            agreed = LIBVIRT.agree(**offer)
            return agreed.fields() | {"found": await self._arrivals.look(wanted)}

        return self.respond(work)

    @LibvirtPrepare.responder
    def libvirt_prepare(self, session: str, secret: bytes | None, wanted: Wanted, **offer: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            self._rights.check_anew(wanted.name)
            agreed = LIBVIRT.agree(**offer)
            if self._arrival is not None and not self._arrival.over:
                raise NotMigratable(f"{wanted.name}: this control channel already has a session")
            self._arrival, prepared = await self._arrivals.begin(session, self._rights.bond(secret), wanted, self._answers)
            if self.lost:
                await self._arrival.abandon("its control channel was lost")
            return agreed.fields() | {"prepared": prepared}

        return self.respond(work)

    @LibvirtFinish.responder
    def libvirt_finish(self, session: str, secret: bytes | None, arrived: bool) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            return {"fate": await self._arrivals.session(session, self._rights.claim(secret)).finish(arrived)}

        return self.respond(work)

    @LibvirtOutcome.responder
    def libvirt_outcome(self, session: str | None, secret: bytes | None, uuid: str, end: bool) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            claim = self._rights.claim(secret)
            check = self._rights.check_anew if self._arrival is None else self._rights.check
            return {"fate": await self._arrivals.outcome(uuid, session, claim, end, check)}

        return self.respond(work)
