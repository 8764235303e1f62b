"""What all parts of one end of a tunnel share, and the terms on which its channels live."""

from __future__ import annotations

from typing import Any

import txaio
from attrs import field, frozen

from nbdtun.tunnel.link import CallLater
from nbdtun.tunnel.slab import SlabPool

#: Seconds that many links' timers may be late for being woken up together.
BATCH = 0.25


@frozen
class Terms:
    """
    How channels are treated.

    ``window``: bytes that one direction of a channel keeps at most. ``link_timeout``: seconds without a byte after which a link is
    dead. ``resume_window``: seconds that a channel waits for its next link. ``opening_timeout``: seconds that a new connection has to
    become a link, and that a first link is tried for. ``max_channels``: how many the destination serves at once.
    """

    window: int = 16 * 1024 * 1024
    link_timeout: float = 15.0
    resume_window: float = 300.0
    opening_timeout: float = 10.0
    max_channels: int = 1024


@frozen
class Runtime:
    """The reactor, the buffers and the batched timers of one end."""

    reactor: Any
    terms: Terms
    pool: SlabPool = field(factory=SlabPool)
    call_later: CallLater = field(init=False)

    @call_later.default
    def _batched(self) -> CallLater:
        txaio.use_twisted()
        timer = txaio.with_config(loop=self.reactor).make_batched_timer(BATCH)
        return timer.call_later  # type: ignore[no-any-return]
