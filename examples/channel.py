"""
A Twisted application that speaks its own protocol through the tunnel, over a network that may fail on the way.

    python examples/channel.py serve tcp:10810 TLS-DIR
    python examples/channel.py ask tcp:dest.example:10810 TLS-DIR <FILE

The destination answers with the SHA-256 of the data. Pull the cable meanwhile: for both protocols it is only a pause.
"""

import hashlib
import sys

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorCore
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from zope.interface import implementer

from nbdtun.config import DestinationSettings, FactoryTarget, TunnelSettings
from nbdtun.service import DestinationService


@implementer(IHalfCloseableProtocol)
class Digest(Protocol):
    """At the destination: answers when the other end has sent everything."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def dataReceived(self, data: bytes) -> None:
        self._digest.update(data)

    def readConnectionLost(self) -> None:
        self.transport.write(self._digest.hexdigest().encode() + b"\n")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass


@implementer(IHalfCloseableProtocol)
class Asking(Protocol):
    """At the source: sends a file, closes its half, and waits for the answer."""

    def __init__(self) -> None:
        self._answer = b""
        self.answered: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self._answer += data

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._answer:
            self.answered.callback(self._answer)
        else:
            self.answered.errback(reason)


def serve(reactor: IReactorCore, listen: str, tls: str) -> Deferred[None]:
    """Offer the target ``digest``, until the process is stopped."""
    target = FactoryTarget("digest", Factory.forProtocol(Digest))
    service = DestinationService(reactor, DestinationSettings(tunnel=TunnelSettings(tls_dir=tls), listen=listen, targets=(target,)))
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    return Deferred()


async def ask(reactor: IReactorCore, connect: str, tls: str) -> None:
    """Send standard input, and print the answer."""
    words = f"target=digest:connect={quoteStringArgument(connect)}:tls-dir={quoteStringArgument(tls)}"
    asking = await clientFromString(reactor, f"nbdtun:{words}").connect(Factory.forProtocol(Asking))
    await FileSender().beginFileTransfer(sys.stdin.buffer, asking.transport)
    asking.transport.loseWriteConnection()
    print((await asking.answered).decode(), end="")


def main(reactor: IReactorCore, what: str, where: str, tls: str) -> Deferred[None]:
    """The main function for :func:`twisted.internet.task.react`."""
    return serve(reactor, where, tls) if what == "serve" else Deferred.fromCoroutine(ask(reactor, where, tls))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    react(main, sys.argv[1:])
