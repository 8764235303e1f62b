"""The wire of a connection: plain, or under TLS with records of OpenSSL's or of our own; or as another process has left it."""

from __future__ import annotations

import socket
import ssl
from typing import ClassVar, Protocol

from attrs import frozen

from nbdtun.tls.contexts import wrap_client, wrap_server
from nbdtun.tls.handshake import Handshake
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.protocol.slab import SlabPool
from nbdtun.tunnel.settings import Records
from nbdtun.tunnel.wires.batched import BatchedWire
from nbdtun.tunnel.wires.plain import Wire, WireUser
from nbdtun.tunnel.wires.selector import WireSelector
from nbdtun.tunnel.wires.tls import TLSWire


class Securing(Protocol):
    """What makes the wire of a connection. With ``shaken``, its handshake is over."""

    shaken: ClassVar[bool]

    def wire(self, selector: WireSelector, sock: socket.socket, user: WireUser, pool: SlabPool) -> Wire:
        """Make it."""


@frozen
class Security:
    """TLS for one connection: under ``context``, as a client that verifies the server's ``name``, or as a server (None)."""

    shaken: ClassVar[bool] = False
    context: ssl.SSLContext
    records: Records
    name: str | None = None

    def wire(self, selector: WireSelector, sock: socket.socket, user: WireUser, pool: SlabPool) -> Wire:
        """
        Put ``sock`` under TLS; ``pool`` lends buffers for records.

        :raise OSError: the connection is already gone.
        :raise TLSError: records cannot be batched here.
        """
        if self.records is Records.BATCHED:
            return BatchedWire(selector, sock, user, Handshake(self.context, self.name), pool)
        wrapped = wrap_server(self.context, sock) if self.name is None else wrap_client(self.context, sock, self.name)
        return TLSWire(selector, wrapped, user)


@frozen
class Moved:
    """A connection that another process has moved here, with the ``state`` of its TLS; None without."""

    shaken: ClassVar[bool] = True
    state: LinkState | None

    def wire(self, selector: WireSelector, sock: socket.socket, user: WireUser, pool: SlabPool) -> Wire:
        """
        Go on with ``sock``.

        :raise OSError: the bytes that were left are no records.
        :raise TLSError: its cipher suite is not known here.
        """
        return Wire(selector, sock, user) if self.state is None else BatchedWire.of(selector, sock, user, self.state, pool)
