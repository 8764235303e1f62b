"""The dialer of a tunnel alone whose far end ssh reaches, when a channel is opened and not before."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from attrs import evolve
from twisted.internet.defer import Deferred

from nbdtun.config import SourceSettings
from nbdtun.deferreds import branch
from nbdtun.errors import FarEndGone, LinkLost, ReachError, Unreachable
from nbdtun.process import Reactor
from nbdtun.reach.host import UNATTENDED
from nbdtun.service.tunnel.build import make_runtime
from nbdtun.service.tunnel.reached import Reached, Say
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.source.dialer import Dialer


class LateDialer:
    """
    The dialer of a tunnel alone: its far end is reached when a channel is opened, and again if it is there no more.

    ``runtime`` is what the tunnel's channels share.
    """

    def __init__(self, reached: Callable[[], Reached], runtime: Runtime) -> None:
        self.runtime = runtime
        self._make = reached
        self._reached: Reached | None = None
        self._reaching: Deferred[Dialer] | None = None

    def __repr__(self) -> str:
        return f"<LateDialer by {self._reached}>"

    @classmethod
    def by(cls, reactor: Reactor, settings: SourceSettings, say: Say) -> LateDialer:
        """Make it as ``settings`` say, which have an address of ssh."""
        patient = evolve(settings.tunnel, handshake_timeout=max(UNATTENDED, settings.tunnel.handshake_timeout))
        runtime, address = make_runtime(reactor, patient), settings.by_ssh
        assert address is not None
        return cls(lambda: Reached(runtime, address, f"tunnel-{secrets.token_hex(4)}", settings.far, say), runtime)

    #: Under TLS, or through ssh.
    confidential = True
    #: Each far end has certificates of its own.
    tls = None

    async def open(self, channel: Channel, session: bytes = b"", *, met: bool = True) -> None:
        """See :meth:`~nbdtun.tunnel.source.dialer.Dialer.open`."""
        dialer = await self._dialer()
        reached = self._reached
        try:
            await dialer.open(channel, session, met=False)
        except (FarEndGone, Unreachable):  # it has ended, and with it all channels
            if self._reached is reached:  # else another channel has found that, and there may be another far end by now
                await self.close()
            await (await self._dialer()).open(channel, session, met=met)

    async def resume(self, channel: Channel) -> None:
        """See :meth:`~nbdtun.tunnel.source.dialer.Dialer.resume`."""
        await (await self._dialer()).resume(channel)

    async def disown(self, ident: bytes, secret: bytes, reason: str) -> None:
        """See :meth:`~nbdtun.tunnel.source.dialer.Dialer.disown`."""
        await (await self._dialer()).disown(ident, secret, reason)

    async def greet(self) -> None:
        """See :meth:`~nbdtun.tunnel.source.dialer.Dialer.greet`."""
        await (await self._dialer()).greet()

    async def _dialer(self) -> Dialer:
        """The dialer of the far end, which is reached once."""
        if self._reaching is None:
            self._reached = self._make()
            self._reaching = Deferred.fromCoroutine(self._reached.open())
        reaching = self._reaching
        try:
            return await branch(reaching)
        except ReachError as error:
            reaching.addErrback(lambda _: None)
            if self._reaching is reaching:
                await self.close()
            raise LinkLost(error.what, error.remedy) from error

    async def close(self) -> None:
        """Leave the far end, which then ends."""
        reached, self._reached, self._reaching = self._reached, None, None
        if reached is not None:
            await reached.acknowledge()
            await reached.close()
