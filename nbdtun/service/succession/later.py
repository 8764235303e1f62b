"""The process after this one: it asks for the place, and then for what is here of what it is asked."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from nbdtun.deferreds import branch
from nbdtun.errors import LinkLost, TunnelError
from nbdtun.logs import make_logger
from nbdtun.process import Reactor, adopt, quiet_factory
from nbdtun.service.control.changes import Changes, Kept
from nbdtun.service.local.descriptors import Crossed
from nbdtun.service.succession.commands import (
    SUCCESSION,
    Begun,
    Heir,
    Leave,
    Look,
    Obey,
    Replaced,
    Succeed,
    Take,
    TakeControl,
    Users,
    Who,
    Whose,
)
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.elsewhere import Passed, Share


class Keeping(Protocol):
    """What a daemon's process has and keeps: its channels and sessions."""

    @property
    def users(self) -> Mapping[str, int]:
        """The channels of each local user."""

    @property
    def figures(self) -> Mapping[str, Any]:
        """Its metrics; none, if they are not served."""

    @property
    def ports(self) -> Sequence[str]:
        """The endpoints at which its channels are resumed."""

    @property
    def encrypted(self) -> bool | None:
        """Whether that is under TLS."""

    async def look(self, ident: bytes, target: str, owner: str) -> Share:
        """What is there of a question."""

    def adopt(self, passed: Passed) -> None:
        """Go on with a connection."""

    async def whose(self, vm: str | None, session: str | None, uuid: str | None = None) -> tuple[bool, int]:
        """Whether a VM, a session, or a domain of libvirt's is there, and how many VMs arrive."""

    def adopt_control(self, sock: socket.socket, said: bytes, caller: Caller) -> None:
        """Go on with a control channel."""


class Place(Protocol):
    """The place of a daemon's process."""

    def give_way(self) -> None:
        """Accept nothing more (:exc:`MigrationError`: it cannot be given away any more)."""

    def leave(self, *, at_once: bool) -> None:
        """Stop, in good order or at once."""

    @property
    def kept(self) -> Kept:
        """What was set by hand."""

    async def obey(self, changes: Changes, within: int) -> list[str]:
        """Take what the daemon was told; a line for each process that has not taken it, in so many seconds at most."""


class Later(Crossed):
    """
    Answers for ``keeping``, whose place is ``place``. ``leaves`` is set when the daemon is to stop as a whole; ``listens`` has the other
    one's endpoints, once it has begun; ``replaced_by`` is the one after that, if it was replaced itself.
    """

    log = make_logger()
    failed = TunnelError
    channel = "connection"
    other = "the program that takes over"
    here = "in the program before it"
    limited = False

    def __init__(self, reactor: Reactor, place: Place, keeping: Keeping) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        self._place = place
        self._keeping = keeping
        self._begun: Deferred[None] = Deferred()
        self._told: dict[str, Any] = {}
        self.leaves = False
        self.replaced_by: int | None = None
        self.listens: list[str] = []
        self._heir: socket.socket | None = None
        self.when_lost().addCallback(self._is_lost)

    def begun(self) -> Deferred[None]:
        """Fires when it has taken over; fails with :exc:`LinkLost` if it ends before."""
        return branch(self._begun)

    def tell(self) -> None:
        """Tell it how many channels local users have here, and the metrics, if anything of it has changed."""
        if (counts := self._counts) != self._told:
            self._told = counts
            self.notify(Users, **counts)

    @property
    def _counts(self) -> dict[str, Any]:
        figures = self._keeping.figures
        return {"users": {**self._keeping.users}} | ({"figures": figures} if figures else {})

    def command_refused(self, reason: str) -> None:
        """Log it: the source dials again."""
        self.log.warn("a question of the program that has taken over was refused: {reason}", reason=reason)

    def _is_lost(self, lost: LinkLost) -> None:
        if not self._begun.called:
            self._begun.errback(lost)
            self._begun.addErrback(lambda _: None)

    @Succeed.responder
    def succeed(self, **offer: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            agreed = SUCCESSION.agree(**offer, other="the new program", here="the one that runs")
            self._place.give_way()
            there: dict[str, Any] = {**self._counts, "kept": self._place.kept, "ports": [*self._keeping.ports]}
            if self._keeping.encrypted is not None:
                there["encrypted"] = self._keeping.encrypted
            return agreed.fields() | there

        return self.respond(work)

    @Begun.responder
    def has_begun(self, listens: list[str]) -> dict[str, Any]:
        self.listens = listens
        if not self._begun.called:
            self._begun.callback(None)
        return {}

    @Replaced.responder
    def replaced(self, by: int) -> dict[str, Any]:
        self.replaced_by = by or None
        return {}

    @Heir.responder
    def has_heir(self, sock: int) -> dict[str, Any]:
        before, self._heir = self._heir, socket.socket(fileno=sock)
        if before is not None:
            before.close()
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nobody has taken the line to its heir, if it is left then."""
        super().connectionLost(reason)
        if self._heir is not None:
            self._heir.close()

    def take_heir(self) -> Later | None:
        """The process that has replaced it, where this one was killed; None if there is no line to it."""
        line, self._heir = self._heir, None
        if line is None:
            return None
        heir = Later(self._reactor, self._place, self._keeping)
        heir.has_begun(self.listens)
        with line:
            line.setblocking(False)
            adopt(self._reactor, line, quiet_factory(lambda: heir))
        return heir

    @Leave.responder
    def leave(self) -> dict[str, Any]:
        again, self.leaves = self.leaves, True
        self._place.leave(at_once=again)
        return {}

    @Obey.responder
    def obey(self, changes: Changes, within: int) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            return {"missed": await self._place.obey(changes, within)}

        return self.respond(work)

    @Look.responder
    def look(self, channel: bytes, target: str, owner: str) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            share = await self._keeping.look(channel, target, owner)
            return {"channel": share.channel, "target": share.target, "channels": share.channels, "owned": share.owned}

        return self.respond(work)

    @Take.responder
    def take(self, sock: int, state: LinkState | None, caller: Who, box: bytes) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            taken = socket.socket(fileno=sock)
            try:
                self._keeping.adopt(Passed(taken, state, caller.caller, box))
            except (OSError, TunnelError) as error:
                taken.close()
                raise LinkLost(f"{caller.peer}: {error}") from error
            return {}

        return self.respond(work)

    @Whose.responder
    def whose(self, vm: str | None, session: str | None, uuid: str | None) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            here, arriving = await self._keeping.whose(vm, session, uuid)
            return {"here": here, "arriving": arriving}

        return self.respond(work)

    @TakeControl.responder
    def take_control(self, sock: int, caller: Who, said: int) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            with open(said, "rb") as file:
                self._keeping.adopt_control(socket.socket(fileno=sock), file.read(), caller.caller)
            return {}

        return self.respond(work)
