"""
libvirt's keepalive, answered here while the link is away. Rules only: no socket, no clock.

A libvirtd sends a PING when nothing has arrived for a while, and closes the connection when several in a row have no answer. By default
that is after 30 s, and a link may be away for longer. Whatever arrives counts as an answer (``virKeepAliveCheckMessage`` in libvirt's
src/rpc/virkeepalive.c), and a PONG too many is taken like any other. So a PING that the link has swallowed is answered here, and the PONG
that arrives when the link is back is passed on as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define, field

from nbdtun.libvirt.rpc.gate import keeps_alive
from nbdtun.libvirt.rpc.messages import Kind, Message
from nbdtun.libvirt.rpc.procedures import KEEPALIVE, PING, PONG, VERSION

ANSWER: Final = Message(KEEPALIVE, VERSION, PONG, Kind.MESSAGE)


@define
class Keepalive:
    """Of one end: what to answer to the local libvirtd. ``away`` says whether the link is away just now."""

    _away: Callable[[], bool]
    #: Whether a PING was passed on that nothing has answered.
    waits: bool = field(default=False, init=False)

    def sent(self, message: Message) -> Message | None:
        """Judge what the local libvirtd sends: None to pass it on, else what to answer in its place."""
        if not keeps_alive(message, PING):
            return None
        if self._away():
            return ANSWER
        self.waits = True
        return None

    def received(self) -> None:
        """Something is passed on to the local libvirtd, which takes it for an answer."""
        self.waits = False

    def overdue(self) -> Message | None:
        """Return the answer to a PING that was passed on before the link went away; None if there is none, or the link is there."""
        if not self.waits or not self._away():
            return None
        self.waits = False
        return ANSWER
