"""A channel that this process has itself, as the rest of its end asks it; see ``carried`` for what it answers."""

from __future__ import annotations

from nbdtun.tls.presented import Presented
from nbdtun.tunnel.channels.carried import Welcome
from nbdtun.tunnel.channels.figures import Figures, in_bytes
from nbdtun.tunnel.channels.link import Link
from nbdtun.tunnel.channels.outage import Outage
from nbdtun.tunnel.protocol.inbound import Inbound
from nbdtun.tunnel.protocol.outbound import Outbound
from nbdtun.tunnel.settings import shown


class Here:
    """The half of a channel that tells what it is, and what it does with the link that it has."""

    orphaned = False

    ident: bytes
    target: str
    inbound: Inbound
    outbound: Outbound
    outage: Outage
    resumes: int
    replayed: int
    _link: Link | None

    @property
    def name(self) -> str:
        """Its name in messages."""
        return f"{shown(self.target)} {self.ident.hex()[:8]}"

    @property
    def dials(self) -> bool:
        """Whether this end gets the next link."""
        return self.outage.redials

    @property
    def carried(self) -> int:
        """Bytes that have arrived, both ways."""
        return self.outbound.acked + self.inbound.received

    @property
    def figures(self) -> Figures:
        """What it has done so far."""
        inbound, outbound = self.inbound, self.outbound
        return Figures(
            sent=in_bytes(outbound.acked, outbound.final),
            received=in_bytes(inbound.received, inbound.final),
            resumes=self.resumes,
            replayed=self.replayed,
            linked=self._link is not None,
            kept=outbound.kept,
            limit=outbound.growth.limit,
            window=outbound.growth.window,
            since=self.outage.since,
        )

    @property
    def link(self) -> Link | None:
        """The link that carries it now; None while there is none."""
        return self._link

    @property
    def in_kernel(self) -> bool:
        """Whether its link is encrypted by the kernel."""
        return self._link is not None and self._link.wire.in_kernel

    @property
    def presented(self) -> Presented | None:
        """What the peer of its link has presented; None without TLS, or without a link."""
        return None if self._link is None else self._link.wire.presented

    def new_link(self) -> Link:
        """Return a link for this channel, for AMP to switch to."""
        raise NotImplementedError

    def resume(self, received: int) -> None:
        """A new link is about to come, and the other end has ``received`` bytes."""
        raise NotImplementedError

    async def welcome(self, received: int) -> Welcome:
        """See :meth:`Carried.welcome`."""
        self.resume(received)
        return Welcome(self.new_link(), self.inbound.received, self.inbound.window)

    def cut(self, reason: Exception) -> None:
        """End its link, if it has one; it waits for another."""
        if self._link is not None:
            self._link.wire_lost(reason)

    def pause(self) -> int:
        """Read nothing more from the present link, if there is one; returns how many bytes were received."""
        if self._link is not None:
            self._link.paused = True
            self._link.go_on()
        return self.inbound.received

    def go_on(self) -> None:
        """The next link has failed: go on with the present one, if there is one."""
        if self._link is not None:
            self._link.paused = False
            self._link.go_on()
