"""The objects that all parts of one end of a tunnel share, and the terms of its channels."""

from __future__ import annotations

from collections.abc import Callable

from attrs import field, frozen

from nbdtun.process import Reactor
from nbdtun.tunnel.protocol.growth import Spare
from nbdtun.tunnel.protocol.inflight import InFlight
from nbdtun.tunnel.protocol.records import BUFFER
from nbdtun.tunnel.protocol.slab import SlabPool
from nbdtun.tunnel.runtime.batches import Batches
from nbdtun.tunnel.runtime.contact import Contact
from nbdtun.tunnel.runtime.log_limits import LineLimit
from nbdtun.tunnel.runtime.throttle import Throttle
from nbdtun.tunnel.settings import Terms
from nbdtun.tunnel.wires.pipe import PipePool
from nbdtun.tunnel.wires.selector import Selector, WireSelector

#: Delays of at least so many seconds are batched with others, which makes them up to a second longer.
BATCHED_FROM = 1.0

#: Buffers for TLS records that are kept for later: as many as there are busy channels at one time.
KEEP_RECORDS = 64


@frozen
class Runtime:
    """
    The reactor, buffers and pipes, the selector of all wires, the throttle, the batched timers and the log limits of one end, and the
    contact with the other.
    """

    reactor: Reactor
    terms: Terms
    pool: SlabPool = field(factory=SlabPool)
    selector: WireSelector = field()
    throttle: Throttle = field()
    inflight: InFlight = field(factory=InFlight)
    spare: Spare = field(factory=Spare)
    pipes: PipePool = field(factory=PipePool)
    records: SlabPool = field(factory=lambda: SlabPool(KEEP_RECORDS, BUFFER))
    _batched: Batches = field(init=False)
    line_limit: LineLimit = field(init=False)
    contact: Contact = field(init=False)

    @selector.default
    def _make_selector(self) -> Selector:
        return Selector(self.reactor)

    @throttle.default
    def _make_throttle(self) -> Throttle:
        return Throttle(self.reactor)

    @_batched.default
    def _make_batched(self) -> Batches:
        return Batches(self.reactor)

    @line_limit.default
    def _make_line_limit(self) -> LineLimit:
        return LineLimit(self.call_later)

    @contact.default
    def _make_contact(self) -> Contact:
        return Contact(lambda: self.reactor.seconds())

    def call_later(self, delay: float, function: Callable[..., object], *arguments: object) -> None:
        """
        Call ``function`` in ``delay`` seconds, or up to a second later, together with others; this cannot be cancelled.

        A delay of less than a second is exact: it has a timer of its own.
        """
        if delay < BATCHED_FROM:
            self.reactor.callLater(delay, function, *arguments)
        else:
            self._batched.call_later(delay, function, *arguments)


#: Calls a function once after some seconds, batched with others, since there are many links. It cannot be cancelled.
CallLater = Callable[..., object]
