"""
Two connected sockets, the local libvirtd's and a channel's, joined message by message.

Wiring, at either end::

    proxy = Proxy(reactor, libvirtd, channel, away=lambda: link_is_away, gate=Gate(grant))  # near: gate=None
    await proxy.closed
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.defer import Deferred

from nbdtun.libvirt.rpc.gate import Gate
from nbdtun.process import Reactor


class Proxy:
    """
    Joins ``libvirtd`` (connected to the local one) to ``channel``; it takes both sockets over, and closes them.

    ``away`` says whether the link is away just now; it is asked for each keepalive of the local libvirtd, and each second while one has no
    answer. ``gate`` judges what comes from the channel, at the destination. ``refused`` is called with each refusal's line.

    ``closed`` fires with None when both sockets are closed, in order or not; it never fails.
    """

    closed: Deferred[None]

    def __init__(
        self,
        reactor: Reactor,
        libvirtd: socket.socket,
        channel: socket.socket,
        *,
        away: Callable[[], bool],
        gate: Gate | None = None,
        refused: Callable[[str], object] = lambda line: None,
    ) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Close both sockets at once; safe to repeat."""
        raise NotImplementedError
