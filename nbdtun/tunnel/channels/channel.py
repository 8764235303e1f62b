"""
Channels: a tunnelled byte stream in both directions, which outlives its links.

A channel begins fresh, is linked, may be severed and linked again any number of times, and ends exactly once:

- **complete**: both directions have ended and both ends know it. The destination says BYE last; until then the source would dial again;
- **reset**: either side gave up, with a reason that both sides learn;
- **expired**: there was no new link within the resume window.

Source and destination differ in two points only: the source dials, and the destination says BYE.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.defer import Deferred

from nbdtun.errors import AlreadyComplete, ChannelReset, LinkLost, ProtocolViolation, TunnelError, error_of
from nbdtun.logs import make_logger
from nbdtun.states import Life
from nbdtun.tunnel.channels.here import Here
from nbdtun.tunnel.channels.life import TRANSITIONS, State, Trigger
from nbdtun.tunnel.channels.link import Link
from nbdtun.tunnel.channels.outage import Flaps, Outage
from nbdtun.tunnel.channels.splice import Farewell, Splice
from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.protocol.growth import BULK, URGENT
from nbdtun.tunnel.protocol.inbound import Inbound
from nbdtun.tunnel.protocol.outbound import Outbound
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.runtime.throttle import Limit
from nbdtun.tunnel.settings import labels
from nbdtun.units import size_text


class Channel(Here):
    """
    One channel at one end.

    ``secret`` is its own, empty without TLS. Under a bandwidth limit, ``urgent`` puts it ahead of others. ``farewell`` is called before the
    local program hears of an end that it has not asked for.

    ``redial`` gets the source a new link: it is called when the last one is lost, and returns a Deferred that can be cancelled. It is None
    at the destination, which waits. ``ended`` fires once, with None or the error. ``resumes`` and ``replayed`` (bytes) count the cost of
    lost links.
    """

    log = make_logger()

    def __init__(
        self,
        runtime: Runtime,
        ident: bytes,
        target: str,
        sock: socket.socket,
        window: int,
        redial: Callable[[Channel], Deferred[None]] | None,
        *,
        secret: bytes = b"",
        urgent: bool = False,
        farewell: Farewell | None = None,
        limit: Limit | None = None,
    ) -> None:
        self.runtime, self.secret = runtime, secret
        self.ident, self.target, self.urgent = ident, target, urgent
        self._window = runtime.spare.lend(window)
        self.inbound = Inbound(self._window, runtime.pool)
        self.outbound = Outbound(self._window, runtime.pool, runtime.inflight, URGENT if urgent else BULK)
        self.ended: Deferred[TunnelError | None] = Deferred()
        self.delivered: Deferred[None] = Deferred()
        self.error: TunnelError | None = None
        self.resumes = self.replayed = 0
        self.flaps = Flaps()
        longest = runtime.terms.resume_window
        self.outage = Outage(runtime.reactor, longest, None if redial is None else lambda: redial(self), self._expire)
        self._splice = Splice(runtime.selector, sock, self, limit or runtime.throttle, runtime.pipes, urgent=urgent, farewell=farewell)
        self._link = None
        self._last_words: TunnelError | None = None
        self._life = Life(TRANSITIONS)

    def __repr__(self) -> str:
        return f"<Channel {self.name} {self.inbound!r} {self.outbound!r} {self._link!r}>"

    def new_link(self) -> Link:
        """Return a link for this channel, for AMP to switch to."""
        return Link(self, self.runtime)

    def agree_window(self, window: int) -> None:
        """Both ends keep this many bytes for each direction."""
        self.inbound.agree(window)
        self.outbound.growth.agree(window)

    def resume(self, received: int) -> None:
        """
        A new link is about to come, and the other end has ``received`` bytes: it replaces any present link.

        :raise ProtocolViolation: the other end cannot have so many.
        :raise ResumeRefused: the other end had more before; the present link stays.
        """
        self.replayed += self.outbound.rewind(received)
        if self._link is not None:
            old, self._link = self._link, None
            old.close()
            self._sever(LinkLost("a newer link replaced it"))

    def renew(self) -> None:
        """Get another link, and keep the present one until then."""
        self.outage.renew()

    def abandoned(self, reason: Exception) -> None:
        """The connection that asked for this channel was lost before it became a link; another may have come meanwhile."""
        if self._link is None:
            self._sever(reason)

    def refused(self, error: TunnelError) -> None:
        """
        The destination will not resume this channel; that is no failure if the channel is already complete.

        Nor if it has a link: the next one was only for new keys, and is asked for again later.
        """
        if self._link is not None and not isinstance(error, AlreadyComplete):
            self.outage.kept()
            return
        complete = self.inbound.done and isinstance(error, AlreadyComplete)
        self._end(None if complete else self._last_words or error)

    def reset(self, error: TunnelError) -> None:
        """Give up the channel, and send the reason to the other end as soon as there is a link."""
        link, self._link = self._link, None
        if link is not None:
            link.reset(error.code, str(error))
        elif self.outage.redialling:
            self._last_words = error
            self._splice.close()
            return
        self._end(error)

    def leave(self, reason: str) -> None:
        """End the channel here only. The other end is told nothing, and goes on looking for a link until somebody refuses it."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._end(ChannelReset(reason))

    # Called by its links.

    def link_attached(self, link: Link) -> None:
        """The channel has a new link."""
        before = self._life.state
        self._life.advance(Trigger.ATTACH)
        if before is State.OVER:
            error = self.error or ChannelReset("it has already ended")
            link.reset(error.code, str(error))
        elif before is State.SEVERED:
            self._take_again(link)
        else:
            self._take(link)

    def link_lost(self, link: Link, reason: Exception) -> None:
        """Its link is gone."""
        if link is self._link:
            self._link = None
            self._sever(reason)

    def deliver(self, pieces: list[memoryview]) -> None:
        """Write bytes to the local socket."""
        self._splice.write(pieces)
        self._delivered()

    @property
    def pourable(self) -> bool:
        """Whether :meth:`pour` can be used now: no bytes wait for the local socket, and the system has pipes."""
        inbound = self.inbound
        return inbound.received == inbound.written and self.runtime.pipes.usable

    def pour(self, source: int, count: int) -> int | None:
        """Write at most ``count`` bytes from the descriptor ``source`` to the local socket; returns as :meth:`Splice.pour`."""
        poured = self._splice.pour(source, count)
        if poured:
            self._delivered()
        return poured

    def _delivered(self) -> None:
        inbound = self.inbound
        if inbound.received != inbound.written and self._link is not None and self.outbound.roomy:
            self._link.hold()
        self.written()

    def end_received(self, offset: int) -> None:
        """The other end's stream is ``offset`` bytes long."""
        self.inbound.accept_end(offset)
        self._splice.write_end()
        self.written()

    def acknowledged(self) -> None:
        """The other end has acknowledged more bytes."""
        self._splice.make_room()
        if self.outbound.final is not None:
            self._check_end()

    def reset_received(self, code: str, reason: str) -> None:
        """The other end has given up."""
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._end(error_of(code, reason or code, TunnelError, ChannelReset))

    def bye_received(self) -> None:
        """Both ends are complete."""
        if not self.dials or not self.complete:
            self.reset(ProtocolViolation("the other end closed the channel before it was complete"))
            return
        link, self._link = self._link, None
        if link is not None:
            link.close()
        self._end(None)

    # Called by its splice.

    def filled(self) -> None:
        """There is more to send."""
        if self._link is not None:
            self._link.pump()
        if self.outbound.final is not None:
            self._check_end()

    def full(self) -> None:
        """Nothing more can be sent until the other end acknowledges, so read the link."""
        if self._link is not None:
            self._link.go_on()

    def drained(self) -> None:
        """The local socket has taken all waiting bytes."""
        if self._link is not None:
            self._link.go_on()

    def written(self) -> None:
        """There is more to acknowledge."""
        if self._link is not None:
            self._link.acknowledge()
        if self.outbound.final is not None:
            self._check_end()

    def broken(self, reason: OSError) -> None:
        """The local socket has failed, or its connection was reset."""
        here = "source" if self.dials else "destination"
        self.reset(ChannelReset(f"the {here}'s connection to its local program failed: {reason.strerror or reason}"))

    # Its end.

    @property
    def complete(self) -> bool:
        """Whether both directions have ended, as far as this end knows."""
        return self.inbound.done and self.outbound.done

    def _deliver(self) -> None:
        if not self.delivered.called:
            self.delivered.callback(None)

    def _check_end(self) -> None:
        if self.outbound.done:
            self._deliver()
        if self.complete:
            self._splice.close()
            if not self.dials and self._link is not None:
                link, self._link = self._link, None
                link.say_last(encode(Kind.ACK, self.inbound.take_ack()) + encode(Kind.BYE, 0))
                self._end(None)
        elif self.outbound.done and self._splice.write_error is not None and self.inbound.final is None:
            self.reset(ChannelReset("the local program closed its socket"))

    # Its states.

    def _take(self, link: Link) -> None:
        self._link = link
        self.runtime.contact.linked()
        self.flaps.linked(self.runtime.reactor.seconds(), self.carried)
        if self._last_words is not None:
            self.reset(self._last_words)
            return
        link.pump()
        self._splice.make_room()
        self._check_end()

    def _take_again(self, link: Link) -> None:
        seconds = self.outage.end()
        self.runtime.contact.back()
        self.resumes += 1
        if self.runtime.line_limit.allows():
            said = "channel {channel}: link back after {seconds:.1f} s, {replayed} replayed so far"
            self.log.info(said, seconds=seconds, replayed=size_text(self.replayed), **labels(self.target, self.name))
        self._take(link)

    def _sever(self, reason: Exception) -> None:
        if not self._life.advance(Trigger.SEVER):
            return
        self.flaps.lost(self.runtime.reactor.seconds(), self.carried)
        if self.runtime.line_limit.allows():
            self.log.warn("channel {channel}: link lost ({reason}), waiting for a new one", reason=reason, **labels(self.target, self.name))
        self.runtime.contact.lost()
        self.outage.begin()

    def _expire(self, expired: LinkLost) -> None:
        self._end(self._last_words or (None if self.complete else expired))

    def _end(self, error: TunnelError | None) -> None:
        if not self._life.advance(Trigger.END):
            return
        if self.outage.since is not None:
            self.runtime.contact.back()
        self.outage.end()
        self.error = error
        self._splice.close()
        self.outbound.clear()
        self.inbound.backlog.clear()
        self.runtime.pool.trim()
        self.runtime.spare.give_back(self._window)
        self.ended.callback(error)
        self._deliver()
