"""
Tuning: options of the sockets that carry bytes.

TCP within a host cannot be congested, and nothing should pace it. Where BBR is the host's choice for all its connections, it waits between
packets, with a timer for each few of them, which costs a tenth of the speed (docs/performance). A connection that BBR has begun stays paced
whatever it is given later (Linux never resets ``sk_pacing_status``, include/net/sock.h), so the choice is made before the connection is.
An accepted connection inherits it from its listener.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from twisted.internet.interfaces import IReactorTCP
from twisted.python.components import proxyForInterface

from nbdtun.tunnel.protocol.slab import SLAB_SIZE

#: The congestion control that every kernel has, that everybody may use, and that does not pace (Linux's net/ipv4/tcp_cong.c).
UNPACED = b"reno"


def make_roomy(sock: socket.socket) -> socket.socket:
    """Give a local program's UNIX socket room, so that it is woken less often, for more; the kernel doubles it, to a limit of its own."""
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SLAB_SIZE)
    return sock


def make_prompt(sock: socket.socket) -> socket.socket:
    """Let nothing wait that is written to a TCP connection; others do not let it."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # NBD sends its header and its payload apart; without this each request waits for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class LoopbackReactor(proxyForInterface(IReactorTCP, "reactor")):  # type: ignore[misc]
    """``reactor`` for endpoints that dial loopback, or listen there."""

    def connectTCP(self, *arguments: Any, **named: Any) -> Any:
        """Connect; see Twisted's IReactorTCP. The connection is attempted in a later turn of the reactor."""
        connector = self.reactor.connectTCP(*arguments, **named)
        _stop_pacing(connector.transport)
        return connector

    def listenTCP(self, *arguments: Any, **named: Any) -> Any:
        """Listen; see Twisted's IReactorTCP."""
        port = self.reactor.listenTCP(*arguments, **named)
        _stop_pacing(port)
        return port


def _stop_pacing(owner: Any) -> None:
    sock = getattr(owner, "socket", None)  # there is none when the process has no descriptor left, as the connector's user is told
    if sock is not None:
        with contextlib.suppress(OSError):  # a kernel without it has its own way
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)
