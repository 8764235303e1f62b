"""The wire of a new connection: plain, or under TLS with records of OpenSSL's or of our own."""

from __future__ import annotations

import socket
import ssl

from attrs import frozen

from nbdtun.tls.contexts import wrap_client, wrap_server
from nbdtun.tls.handshake import Handshake
from nbdtun.tunnel.protocol.slab import SlabPool
from nbdtun.tunnel.settings import Records
from nbdtun.tunnel.wires.batched import BatchedWire
from nbdtun.tunnel.wires.plain import Wire, WireUser
from nbdtun.tunnel.wires.selector import WireSelector
from nbdtun.tunnel.wires.tls import TLSWire


@frozen
class Security:
    """TLS for one connection: under ``context``, as a client that verifies the server's ``name``, or as a server (None)."""

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
