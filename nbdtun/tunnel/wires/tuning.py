"""
Tuning: options of the sockets that carry bytes.

TCP within a host has no congestion, and should not be paced. If BBR is the host's default, it waits between packets, with a timer for every
few of them, which costs a tenth of the speed (docs/performance). A connection that began with BBR stays paced whatever is set later (Linux
never resets ``sk_pacing_status``, include/net/sock.h), so the option is set before connecting. An accepted connection inherits it from its
listener.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from twisted.internet.interfaces import IReactorTCP
from twisted.python.components import proxyForInterface

from nbdtun.tunnel.protocol.slab import SLAB_SIZE

#: A congestion control that every kernel has, that any user may set, and that does not pace (Linux's net/ipv4/tcp_cong.c).
UNPACED = b"reno"


def make_roomy(sock: socket.socket) -> socket.socket:
    """Enlarge the buffer to a local program, so that it wakes up less often, for more data; the kernel doubles it, up to its own limit."""
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SLAB_SIZE)
    return sock


def make_prompt(sock: socket.socket) -> socket.socket:
    """Send at once all that is written to a TCP connection; other sockets always do."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # NBD sends header and payload separately; without this, each request waits for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


class LoopbackReactor(proxyForInterface(IReactorTCP, "reactor")):  # type: ignore[misc]
    """``reactor``, for endpoints that connect to loopback or listen there."""

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
    sock = getattr(owner, "socket", None)  # there is none if the process has no descriptor left; the connector reports that
    if sock is not None:
        with contextlib.suppress(OSError):  # the kernel lacks it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)
