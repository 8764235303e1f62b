"""
What a destination's process has, beside another of its daemon's: channels, sessions, and the control channels that are about them.

A question that is for the process before this one is answered there. A control channel's questions name a VM or a session; channels, and
targets of sessions, are the tunnel's own matter.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from twisted.internet.interfaces import IProtocol

from nbdtun.libvirt.far.arrivals import Arrivals
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.process import Reactor, adopt, quiet_factory
from nbdtun.service.succession.doorkeeper import Doorkeeper
from nbdtun.service.succession.earlier import Earlier
from nbdtun.service.succession.generation import Generation
from nbdtun.service.succession.ports import Ports
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.server import Destination


class Household(Generation):
    """
    Of ``tunnel``, which listens at ``places``, ``sessions`` and ``arrivals``; ``answering`` makes the end of a control channel here, and
    ``clean_up`` removes what the process before this one may have left: it may have been killed.
    """

    def __init__(
        self,
        reactor: Reactor,
        tunnel: Destination,
        places: Ports,
        sessions: Sessions,
        arrivals: Arrivals | None,
        answering: Callable[[Caller], IProtocol],
        fixed: Callable[[], str] = str,
        clean_up: Callable[[], object] = bool,
    ) -> None:
        super().__init__(tunnel.runtime.throttle, fixed)
        self._reactor = reactor
        self._tunnel = tunnel
        self._places = places
        self._sessions = sessions
        self._arrivals = arrivals
        self._answering = answering
        self._clean_up = clean_up
        self.look, self.adopt = tunnel.look, tunnel.adopt

    @property
    def finished(self) -> bool:
        """Whether nothing is left to keep: nothing is under way, and no source may ask for how a channel has ended."""
        return self.earlier is None and self._tunnel.forgotten and not self._arriving

    @property
    def _arriving(self) -> int:
        return len(self._sessions.register.busy) + len(self._arrivals.under_way if self._arrivals is not None else ())

    def follow(self, earlier: Earlier) -> None:
        """See :meth:`Generation.follow`; its channels are asked for, too."""
        super().follow(earlier)
        self._tunnel.elsewhere.other = earlier

    def alone(self) -> None:
        """The process before this one has ended."""
        super().alone()
        self._tunnel.elsewhere.other = None
        self._tell(0)
        self._places.release()
        self._clean_up()

    def _bereaved(self) -> None:
        self._clean_up()

    @property
    def users(self) -> Mapping[str, int]:
        """No local users: only a source has them."""
        return {}

    @property
    def ports(self) -> Sequence[str]:
        """Where sources dial for its channels."""
        return self._places.labels

    @property
    def encrypted(self) -> bool:
        """Whether its links are under TLS."""
        return self._places.encrypted

    def keep_port(self, label: str) -> None:
        """See :meth:`Generation.keep_port`."""
        self._places.keep(label)

    def _tell(self, arriving: int) -> None:
        """So many VMs arrive there: --max-arrivals is for both together."""
        for each in (self._sessions, self._arrivals):
            if each is not None:
                each.capacity.elsewhere = arriving

    async def whose(self, vm: str | None, session: str | None, uuid: str | None = None) -> tuple[bool, int]:
        """
        Whether a VM, a session, or a domain of libvirt's is here, or before; and how many VMs arrive.

        :raise LinkLost: the process before this one does not answer.
        """
        before, more = (False, 0) if self.earlier is None else await self.earlier.whose(vm, session, uuid)
        return self._has(vm, session, uuid) or before, self._arriving + more

    def _has(self, vm: str | None, session: str | None, uuid: str | None) -> bool:
        register, arrivals = self._sessions.register, self._arrivals
        if vm in register.busy or (session is not None and session in register):
            return True
        return arrivals is not None and (session in arrivals or any(each.wanted.uuid == uuid for each in arrivals.under_way))

    async def _elsewhere(self, vm: str | None, session: str | None, uuid: str | None) -> bool:
        """Whether the process before this one has them, and this one has not."""
        if self.earlier is None or self._has(vm, session, uuid):
            return False
        before, arriving = await self.earlier.whose(vm, session, uuid)
        self._tell(arriving)
        return before

    async def receives(self, vm: str) -> bool:
        """Whether a VM arrives at the process before this one (:exc:`LinkLost`)."""
        return self.earlier is not None and (await self.earlier.whose(vm, None))[0]

    def door(self, caller: Caller) -> IProtocol:
        """The end of a control channel of ``caller``."""
        inner = self._answering(caller)
        return inner if self.earlier is None else Doorkeeper(inner, self._elsewhere, partial(self._give, caller))

    async def _give(self, caller: Caller, sock: socket.socket, said: bytes) -> None:
        if self.earlier is None:
            sock.close()  # it has ended meanwhile, and its sessions with it: the source asks again
        else:
            await self.earlier.take_control(sock, said, caller)

    def adopt_control(self, sock: socket.socket, said: bytes, caller: Caller) -> None:
        """Go on with a control channel, over which so much was ``said`` already."""
        protocol = self.door(caller)
        with sock:
            sock.setblocking(False)
            adopt(self._reactor, sock, quiet_factory(lambda: protocol))
        protocol.dataReceived(said)
