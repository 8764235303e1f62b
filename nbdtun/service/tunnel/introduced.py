"""A destination that a code leads to: from its code to the source's end of a tunnel, in which both ends have each other's certificate."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.protocols import amp

from nbdtun.config.settings import Dialling, TunnelSettings
from nbdtun.deferreds import shield
from nbdtun.errors import LinkLost, NbdtunError, ReachError, TLSError, WrongCode
from nbdtun.process import Reactor, quiet_factory
from nbdtun.reach.codes.offer import take_offer
from nbdtun.reach.near import Questions, Talk
from nbdtun.service.tunnel.build import make_client, make_runtime
from nbdtun.service.tunnel.endpoint import ChannelEndpoint
from nbdtun.service.tunnel.reached import Say, Step
from nbdtun.service.tunnel.served import WhileServed
from nbdtun.tls.certificate import Kind, names_of
from nbdtun.tls.throwaway import SOURCE, Identity
from nbdtun.tls.trust import Pinned
from nbdtun.tunnel.settings import RECEIVER
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.source.dialer import Dialer

#: Seconds for the channel to the receiver to end.
SETTLE: Final = 3.0


class ChannelTalk(Talk):
    """The near end's protocol over a channel."""

    channel = "channel to the receiver"


class Receiving(Questions):
    """The receiver at the other end of a channel, once there is one."""

    def __init__(self) -> None:
        self._talk: ChannelTalk | None = None

    def __repr__(self) -> str:
        return f"<Receiving {'over a channel' if self.connected else 'not connected'}>"

    @property
    def connected(self) -> bool:
        """Whether it can be asked."""
        return self._talk is not None and not self._talk.lost

    async def connect(self, reactor: Reactor, source: Source) -> None:
        """
        Open the channel.

        :raise TunnelError: it cannot be opened.
        """
        talk = ChannelTalk(reactor)
        await ChannelEndpoint(reactor, source, RECEIVER, urgent=True).connect(quiet_factory(lambda: talk))
        self._talk = talk

    async def ask(self, command: type[amp.Command], seconds: float, **arguments: Any) -> dict[str, Any]:
        """
        Ask it.

        :raise NbdtunError: it reported it, or the channel is lost.
        """
        if self._talk is None:
            raise LinkLost("there is no channel to the receiver")
        return await self._talk.ask(command, seconds=seconds, **arguments)

    def hang_up(self) -> None:
        """End the channel."""
        if self._talk is not None:
            self._talk.hang_up()


class Introduced:
    """
    The destination of the VM ``name`` that the code of ``settings`` leads to. ``say`` is told that it was reached.

    It is used like :class:`~nbdtun.service.tunnel.reached.Reached`.
    """

    def __init__(self, reactor: Reactor, settings: Dialling, name: str, say: Say) -> None:
        self._reactor = reactor
        self._settings = settings
        self._name = name
        self._say = say
        self._identity = Identity.make(SOURCE)
        self._source: Source | None = None
        self.far = Receiving()
        self.waits = False  #: a QEMU waits there for the VM
        self.again = settings  #: by which another process reaches it, once it is open: the code is used up then

    def __repr__(self) -> str:
        return f"<Introduced to {self._settings.connect}>"

    async def open(self) -> Dialer:
        """
        Take the offer with the code, and open the channel to the receiver.

        :raise WrongCode: the code is not the destination's, or somebody is in between.
        :raise NbdtunError: the destination cannot be reached, offers nothing, or cannot receive.
        """
        settings, connect = self._settings, self._settings.connect
        assert settings.code is not None
        self._say(Step(f"{self._name}: connecting to {connect}"))
        endpoint, window = make_client(self._reactor, connect), settings.tunnel.resume_window
        try:
            found = await take_offer(self._reactor, endpoint, self._identity, settings.code, window)
        except WrongCode:
            raise
        except ReachError as error:
            raise ReachError(f"{connect}: {error.what}", error.remedy) from error
        context = self._identity.asking(found.certificate)
        name = _name_in(found.certificate, connect)
        trust = Pinned(partial(self._identity.asking, found.certificate))
        self.again = Dialling(tunnel=evolve(settings.tunnel, trust=trust, tls_name=name), connect=connect)
        runtime = make_runtime(self._reactor, settings.tunnel)
        served = WhileServed(self._reactor, endpoint, connect, runtime.contact)
        dialer = Dialer(runtime, served, connect, Pinned(lambda: context), name)
        self._source, self.waits = Source(dialer), found.waits
        await self.far.connect(self._reactor, self._source)
        self._say(f"{self._name}: to {connect} by the code, under TLS 1.3")
        return dialer

    def dialling(self, tunnel: TunnelSettings) -> Dialling:
        """How another process dials; its tunnel has the settings of the first one."""
        return self.again

    async def other_speed(self) -> float | None:
        """There is one way only: None."""
        return None

    async def acknowledge(self, *, settled: bool = True) -> None:
        """Nothing is needed there any more; if the outcome is ``settled``, the receiver can forget it. It ends by itself in any case."""
        if not self.far.connected:
            return
        try:
            await self.far.acknowledge(self._identity.certificate, settled=settled)
        except NbdtunError as error:
            self._say(f"the destination could not be told that it may end: {error}; it ends by itself")

    async def close(self) -> None:
        """Hang up, and end what is left of the channel."""

        async def end() -> None:
            self.far.hang_up()
            if self._source is not None:
                await self._source.drain(SETTLE)
                await self._source.stop()

        await shield(Deferred.fromCoroutine(end()), lambda: None)


def _name_in(certificate: bytes, connect: str) -> str:
    """
    The one name in the destination's certificate.

    :raise TLSError: it has none, or several.
    """
    names = [each.value for each in names_of(certificate) if each.kind is Kind.DNS]
    if len(names) != 1:
        raise TLSError(f"{connect}: its certificate has {len(names)} DNS names instead of one")
    return names[0]
