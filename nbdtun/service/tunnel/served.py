"""
A port that is served by one process from the first link to the last: if that ends, no other one can take its channels up.

libvirt's connections end with the daemon that carries them, and a receiver that a code has led to is one process. A network that is away is
silent, and a firewall may refuse connections for any time. But no network closes a connection, as the kernel does when a process has ended.
So where a link was closed from there, and the port goes on refusing new ones, the process has ended.
"""

from __future__ import annotations

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from nbdtun.errors import ResumeRefused
from nbdtun.tunnel.runtime.contact import Contact

#: Seconds for which connections must be refused: a program between the two hosts that is started again refuses for a moment, too.
REFUSED: Final = 5.0


@implementer(IStreamClientEndpoint)
class WhileServed:
    """The ``endpoint`` called ``peer``, until it has hung up, as ``contact`` knows, and refused connections for :data:`REFUSED` seconds."""

    def __init__(self, reactor: IReactorTime, endpoint: IStreamClientEndpoint, peer: str, contact: Contact) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._peer = peer
        self._contact = contact
        self._since: float | None = None  #: it has refused connections, and done nothing else

    def __repr__(self) -> str:
        return f"<WhileServed {self._peer}, refused since {self._since}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; the Deferred fails with :exc:`~nbdtun.errors.ResumeRefused`, too."""
        connecting: Deferred[IProtocol] = self._endpoint.connect(protocolFactory)
        return connecting.addCallbacks(self._reached, self._failed)

    def _reached(self, protocol: IProtocol) -> IProtocol:
        self._since = None
        return protocol

    def _failed(self, failure: Failure) -> Failure:
        if not failure.check(ConnectionRefusedError):  # silence, or the network's own word
            self._since = None
            return failure
        now = self._reactor.seconds()
        self._since = now if self._since is None else self._since
        if self._contact.hung_up and now - self._since >= REFUSED:
            what = f"{self._peer}: the links were closed, and connections refused for {REFUSED:g} s, so the destination's daemon has ended"
            raise ResumeRefused(what, "start it, and try again") from failure.value
        return failure
