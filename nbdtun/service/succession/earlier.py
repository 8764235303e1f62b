"""The process before this one: it keeps its channels and sessions, and gets the connections that ask for them."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any, BinaryIO, Final, NoReturn

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from nbdtun.deferreds import end_of
from nbdtun.errors import LinkLost, NbdtunError, NoAnswer, TunnelError
from nbdtun.logs import make_logger
from nbdtun.process import Reactor, adopt, quiet_factory
from nbdtun.service.control.changes import Changes, Kept
from nbdtun.service.local.descriptors import Crossed, in_memory
from nbdtun.service.succession.commands import (
    SUCCESSION,
    Begun,
    Elder,
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
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.elsewhere import Passed, Share

#: Seconds for an answer. Both processes are of one host, but either may be busy.
ANSWER_SECONDS: Final = 10.0
#: The same for a question that a source waits for, and then for how long no other is asked.
LOOK_SECONDS: Final = 3.0
PATIENCE: Final = 15.0


class Earlier(Crossed):
    """
    An :class:`~nbdtun.tunnel.destination.elsewhere.Other`: what it is asked when it has ended, it has not. ``counted`` is told how
    many channels its local users have, and its metrics. ``elder`` is the line to the process before it, and the id of that, while there is
    one.
    """

    log = make_logger()
    failed = TunnelError
    channel = "connection"
    other = "the program before this one"
    here = "in this program"
    limited = False

    def __init__(self, reactor: Reactor, counted: Callable[[Mapping[str, int], Mapping[str, Any]], object], pid: int) -> None:
        super().__init__(reactor)
        self.pid = pid
        self._counted = counted
        self._reactor = reactor
        self._hangs_until = 0.0
        self.elder: tuple[socket.socket, int] | None = None

    async def succeed(self, encrypted: bool | None) -> tuple[Kept, Sequence[str]]:
        """
        Ask for its place; return what was set by hand there, and the endpoints at which channels of its are resumed. Here they will be
        ``encrypted`` or not.

        :raise NbdtunError: it does not give it.
        """
        answer = await self.ask(Succeed, seconds=ANSWER_SECONDS, **SUCCESSION.offer())
        SUCCESSION.chosen(answer, self.other)
        if answer.get("encrypted") not in (encrypted, None):
            one, other = ("TLS", "none") if answer["encrypted"] else ("no TLS", "some")
            raise LinkLost(f"{self.other} has {one}, and this one has {other}: its channels could not go on", "restart the daemon")
        self.users(**{name: answer[name] for name in ("users", "figures") if answer.get(name) is not None})
        return answer.get("kept") or Kept(), answer.get("ports") or ()

    @Users.responder
    def users(self, users: dict[str, int], figures: dict[str, Any] | None = None) -> dict[str, Any]:
        self._counted(users, figures or {})
        return {}

    @Elder.responder
    def has_elder(self, pid: int, sock: int) -> dict[str, Any]:
        before, self.elder = self.elder, (socket.socket(fileno=sock), pid)
        if before is not None:
            before[0].close()
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Nobody has taken the line to its elder, if it is left then."""
        super().connectionLost(reason)
        if self.elder is not None:
            self.elder[0].close()

    def take_elder(self) -> Earlier | None:
        """The process before it, where this one was killed; None if there is none."""
        if self.elder is None:
            return None
        (line, pid), self.elder = self.elder, None
        with line:
            line.setblocking(False)
            elder = Earlier(self._reactor, self._counted, pid)
            adopt(self._reactor, line, quiet_factory(lambda: elder))
        return elder

    def begun(self, listens: Sequence[str]) -> None:
        """Tell it that its place is taken, and where this process ``listens``."""
        self.notify(Begun, listens=[*listens])

    async def obey(self, changes: Changes, within: int) -> list[str]:
        """Tell it what the daemon was told; return a line for each process that has not taken it, after so many seconds at most."""
        try:
            answer = await self.ask(Obey, seconds=within, changes=changes, within=within)
        except NbdtunError as error:
            return [] if self.lost else [f"process {self.pid}, which was replaced, may not have taken it: {error}"]
        missed: list[str] = answer["missed"]
        return missed

    def replaced(self, by: int | None) -> None:
        """Tell it who has replaced this process."""
        self.notify(Replaced, by=by or 0)

    def leave(self) -> None:
        """Tell it that the daemon is to stop."""
        self.notify(Leave)

    async def look(self, ident: bytes, target: str, owner: str) -> Share:
        """See :meth:`Other.look`; one that hangs is asked again later, so that it holds up nobody."""
        if self._clock.seconds() < self._hangs_until:
            self._fail(NoAnswer(f"{self.other} does not answer"))
        try:
            return Share(**await self.ask(Look, seconds=LOOK_SECONDS, channel=ident, target=target, owner=owner))
        except NbdtunError as error:
            if isinstance(error, NoAnswer):
                self._hangs_until = self._clock.seconds() + PATIENCE
            if self.lost:
                return Share()
            self._fail(error)

    async def take(self, passed: Passed) -> None:
        """See :meth:`Other.take`."""
        state = {} if passed.state is None else {"state": passed.state}
        sock = passed.sock
        await self._pass([sock], Take, sock=sock.fileno(), caller=Who.of(passed.caller), box=passed.box, **state)

    async def whose(self, vm: str | None, session: str | None, uuid: str | None = None) -> tuple[bool, int]:
        """
        Whether it has this VM, session, or domain of libvirt's; and how many VMs arrive there.

        :raise LinkLost: it does not answer.
        """
        told = {name: value for name, value in (("vm", vm), ("session", session), ("uuid", uuid)) if value is not None}
        try:
            answer = await self.ask(Whose, seconds=ANSWER_SECONDS, **told)
        except NbdtunError as error:
            if self.lost:
                return False, 0
            self._fail(error)
        return answer["here"], answer["arriving"]

    async def take_control(self, sock: socket.socket, said: bytes, caller: Caller) -> None:
        """
        Let it go on with a control channel, whose socket is closed here afterwards.

        :raise LinkLost: it does not answer.
        """
        try:
            file = in_memory(said)
        except OSError as error:
            sock.close()
            raise LinkLost(f"control channel {self.here}: {error.strerror}") from error
        await self._pass([sock, file], TakeControl, sock=sock.fileno(), said=file.fileno(), caller=Who.of(caller))

    async def _pass(self, ends: Sequence[socket.socket | BinaryIO], command: type[Take | TakeControl], **arguments: object) -> None:
        """The descriptors must stay open until they are sent, which an answer proves; without one, until the other process is gone."""

        def close() -> None:
            for each in ends:
                each.close()

        try:
            if self.lost:
                raise LinkLost(f"{self.other} has ended")
            await self.ask(command, seconds=ANSWER_SECONDS, **arguments)
        except NoAnswer as error:
            end_of(self.when_lost()).addCallback(lambda _: close())
            self._fail(error)
        except NbdtunError as error:
            close()
            self._fail(error)
        close()

    def _fail(self, error: NbdtunError) -> NoReturn:
        """The source dials again."""
        raise LinkLost(str(error)) from error
