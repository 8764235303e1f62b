"""
Links through ssh: each is an ssh process of its own, and a relay at the far end. One that breaks is dialled again by ssh.

Inside ssh there is no second encryption. Both ends of a link prove themselves by the secret that the far end has told the near one.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from nbdtun.config.ssh import SSHAddress
from nbdtun.errors import FarEndGone, LinkLost, ReachError
from nbdtun.reach.child import Child
from nbdtun.reach.greeting import far_proof, link
from nbdtun.reach.host import Host
from nbdtun.reach.near import words
from nbdtun.reach.relay import is_gone

#: Dials at a time. By default sshd refuses some of ten connections that have not authenticated yet (MaxStartups, sshd_config(5)).
AT_ONCE: Final = 4


@implementer(IAddress)
@frozen
class _Through:
    """The other end of a link, as the factory sees it."""

    host: SSHAddress


@implementer(IStreamClientEndpoint)
class SSHLinks:
    """Connects to the far end called ``name`` at ``host``, by an ssh for each connection; ``secret`` proves both ends."""

    def __init__(self, host: Host, name: str, secret: bytes) -> None:
        self._host = host
        self._words = words(name, join=True)
        self._secret = secret
        self._dialling = DeferredSemaphore(AT_ONCE)
        self._children: set[Child] = set()

    def __repr__(self) -> str:
        return f"<SSHLinks to {self._host.address}, {len(self._children)} of them>"

    @property
    def pids(self) -> list[int]:
        """The process ids of the links' ssh."""
        return sorted(child.pid for child in self._children)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        Connect; the Deferred fails with :exc:`~nbdtun.errors.LinkLost`, in ssh's words, or :exc:`~nbdtun.errors.FarEndGone`.
        """
        return self._dialling.run(lambda: Deferred.fromCoroutine(self._connect(protocolFactory)))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        try:
            call = await self._host.call(self._words, link(self._secret), attended=False, proof=far_proof(self._secret))
        except ReachError as error:
            raise (FarEndGone if is_gone(error.what) else LinkLost)(error.what, error.remedy) from error
        self._children.add(call.child)
        call.child.when_over().addCallback(lambda _: self._children.discard(call.child))
        protocol = factory.buildProtocol(_Through(self._host.address))
        if protocol is None:
            await call.child.end()
            raise LinkLost(f"{self._host.address}: nobody wants the link any more")
        call.calling.give_way(protocol)
        return protocol

    async def prove(self) -> None:
        """
        Prove that a link needs nobody at the terminal.

        :raise NbdtunError: it does, or cannot be made.
        """
        call = await self._host.call(self._words, link(self._secret), attended=False, proof=far_proof(self._secret))
        await call.child.end()

    async def close(self) -> None:
        """End what is left of the links."""
        for child in tuple(self._children):
            await child.end()
