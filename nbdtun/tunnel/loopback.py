"""
Loopback: TCP within a host, which nothing can congest, and which therefore nothing should pace.

Where BBR is the host's choice for all its connections, it waits between packets, with a timer for each few of them, which costs a tenth of
the speed (docs/performance). A connection that BBR has begun stays paced whatever it is given later (Linux never resets
``sk_pacing_status``, include/net/sock.h), so the choice is made before the connection is. What is accepted inherits it from what listens.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from twisted.internet.interfaces import IReactorTCP
from twisted.python.components import proxyForInterface

#: The congestion control that every kernel has, that everybody may use, and that does not pace (Linux's net/ipv4/tcp_cong.c).
UNPACED = b"reno"


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
