"""A destination's channels, as they were asked for, within its limits; and what has arrived over them."""

from __future__ import annotations

from collections import Counter
from hmac import compare_digest

from attrs import field, frozen
from twisted.internet.defer import Deferred

from nbdtun.errors import TooManyChannels
from nbdtun.tunnel.channels.carried import Carried
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.elsewhere import Share
from nbdtun.tunnel.settings import Limits, Usage


@frozen
class Entry:
    """A channel and its owner, as it was asked for; the Deferred has no result while the target is being connected to."""

    caller: Caller
    target: str
    window: int
    secret: bytes = field(repr=False)
    channel: Deferred[Carried]

    def belongs_to(self, caller: Caller, secret: bytes) -> bool:
        """Whether ``caller`` may act on it, with this secret."""
        return caller.owns(self.caller.identity) and compare_digest(self.secret, secret)


class Entries(dict[bytes, Entry]):
    """All of them, by the channels' ids, those that are being opened included. ``limits`` may change; what is above them stays."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits

    @property
    def owners(self) -> Counter[str]:
        """How many channels each source has: by the name in its certificate, or its address."""
        return Counter(entry.caller.owner for entry in self.values())

    @property
    def usage(self) -> Usage:
        """How much of each limit is used."""
        limits, busiest = self.limits, max(self.owners.values(), default=0)
        return {"max-channels": (len(self), limits.channels), "max-channels-per-peer": (busiest, limits.channels_per_peer)}

    def check_room(self, caller: Caller, others: Share) -> None:
        """
        Check that ``caller`` may have one more, beside what ``others`` have.

        :raise TooManyChannels: a limit is reached.
        """
        limits = self.limits
        if len(self) + others.channels >= limits.channels:
            raise TooManyChannels(f"the destination has reached its limit of {limits.channels} channels (--max-channels)")
        if self.owners[caller.owner] + others.owned >= limits.channels_per_peer:
            most = f"{limits.channels_per_peer} channels for this source (--max-channels-per-peer)"
            raise TooManyChannels(f"the destination has reached its limit of {most}")


@frozen
class Traffic:
    """The bytes that have arrived for one target, and who sends them, if somebody does now."""

    received: int
    caller: Caller | None
