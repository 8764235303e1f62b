"""A destination's channels, as they were asked for, and what has arrived over them."""

from __future__ import annotations

from hmac import compare_digest

from attrs import field, frozen
from twisted.internet.defer import Deferred

from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.destination.admission import Caller


@frozen
class Entry:
    """A channel and its owner, as it was asked for; the Deferred has no result while the target is being connected to."""

    caller: Caller
    target: str
    window: int
    secret: bytes = field(repr=False)
    channel: Deferred[Channel]

    def belongs_to(self, caller: Caller, secret: bytes) -> bool:
        """Whether ``caller`` may act on it, with this secret."""
        return caller.owns(self.caller.identity) and compare_digest(self.secret, secret)


@frozen
class Traffic:
    """The bytes that have arrived for one target, and who sends them, if somebody does now."""

    received: int
    caller: Caller | None
