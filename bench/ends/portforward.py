"""One end of a tunnel of Twisted's own parts: `portforward`, stock transports, endpoints for addresses.

    python portforward.py source ENTRANCE PORT [TLS-DIRECTORY]
    python portforward.py destination PORT SERVER [TLS-DIRECTORY]

`ProxyServer` only knows how to connect to TCP, so that one method is another here.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint, IStreamServerEndpoint, ITCPTransport
from twisted.protocols import portforward
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyFactory


def undelayed(transport: object) -> None:
    """NBD sends its header and its payload apart."""
    if ITCPTransport.providedBy(transport) and hasattr(transport, "setTcpNoDelay"):
        transport.setTcpNoDelay(True)


class Client(ProxyClient):
    def connectionMade(self) -> None:
        undelayed(self.transport)
        super().connectionMade()


class ClientFactory(ProxyClientFactory):
    protocol = Client
    noisy = False


class Server(portforward.ProxyServer):
    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        """As the stock one, but to any endpoint."""
        undelayed(self.transport)
        self.transport.pauseProducing()
        client = ClientFactory()
        client.setServer(self)
        self.factory.onward.connect(client).addErrback(lambda _: self.transport.abortConnection())


class Forward(ProxyFactory):
    protocol = Server
    noisy = False

    def __init__(self, onward: IStreamClientEndpoint) -> None:
        super().__init__("", 0)
        self.onward = onward


def options(directory: Path, role: str) -> Any:
    """Mutual TLS 1.3; its cipher is what Twisted and OpenSSL agree on."""
    from twisted.internet import ssl  # needs pyOpenSSL, as nothing else here does

    pem = "".join((directory / f"{role}-{part}.pem").read_text() for part in ("cert", "key"))
    authority = ssl.Certificate.loadPEM((directory / "ca-cert.pem").read_bytes())
    own = ssl.PrivateCertificate.loadPEM(pem)
    if role == "server":
        return own.options(authority)
    return ssl.optionsForClientTLS("127.0.0.1", trustRoot=authority, clientCertificate=own)


def main(role: str, here: str, there: str, tls: str = "") -> None:
    listen: IStreamServerEndpoint
    onward: IStreamClientEndpoint
    if role == "source":
        listen, onward = UNIXServerEndpoint(reactor, here), TCP4ClientEndpoint(reactor, "127.0.0.1", int(there))
        onward = wrapClientTLS(options(Path(tls), "client"), onward) if tls else onward
    else:
        listen, onward = TCP4ServerEndpoint(reactor, int(here), interface="127.0.0.1"), UNIXClientEndpoint(reactor, there)
        listen = SSL4ServerEndpoint(reactor, int(here), options(Path(tls), "server"), interface="127.0.0.1") if tls else listen
    listen.listen(Forward(onward))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
