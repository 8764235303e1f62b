"""
The dialer: it gets the source's links.

Each link is a connection of its own to the destination's one port. It is dialled, put under TLS if so configured, and begun with one AMP
command.
"""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from attrs import frozen
from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError, ConnectionRefusedError, DNSLookupError, UnknownHostError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.internet.task import deferLater
from twisted.protocols import amp
from twisted.python.failure import Failure

from nbdtun.errors import AlreadyComplete, HostUnknown, LinkLost, ProtocolViolation, TLSError, TunnelError, Unreachable
from nbdtun.ownership.loopback import stranger
from nbdtun.process import why_unconnected
from nbdtun.tls.trust import Trusting
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.channels.link import Link
from nbdtun.tunnel.opening.commands import MAX_OFFSET, MAX_REASON, TUNNEL, Greet, OpenChannel, ResumeChannel
from nbdtun.tunnel.opening.detach import connect
from nbdtun.tunnel.opening.transport import Opening, OpeningTransport
from nbdtun.tunnel.protocol.outbound import MIN_READ
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.wires.secure import Security
from nbdtun.units import size_text

#: Seconds for one attempt to connect. A lost SYN is sent again after 1, 3 and 7 s; a fresh attempt comes sooner than the last of these.
CONNECT_TIMEOUT = 4.0

#: The share of the time for a first link that one attempt may take: if its connection falls silent, there is another.
SHARE: Final = 0.4
#: Seconds for which a destination that was never reached may refuse connections: its daemon may be starting.
REFUSED = 2.0

_ROUTE: Final = "check the route to it, and the firewalls"
_UNROUTED: Final = frozenset(map(os.strerror, (errno.EHOSTUNREACH, errno.ENETUNREACH)))
#: Of a destination that has never said a word. Without TLS, one that requires it just ends the connection.
_MUTE: Final = "is it another service, or does it require TLS (--tls-dir)?"

#: Seconds before the next attempt: almost none at first, then more and more, at most 4 s; jitter keeps channels apart.
backoff: Callable[[int], float] = backoffPolicy(initialDelay=0.05, factor=2.0, maxDelay=3.5, jitter=lambda: random.random() / 2)


class _Interlude(Protocol):
    """Between AMP and the link: keeps frames that arrive right behind the answer, until the answer is processed."""

    over = False

    def __init__(self) -> None:
        self._early = b""

    def dataReceived(self, data: bytes) -> None:
        """Keep the data; the limit for all data before a link applies to it."""
        self._early += data

    def give_way(self, link: Link, transport: OpeningTransport) -> None:
        """The connection is ``link`` from now on."""
        self.over = True
        link.makeConnection(transport)
        if self._early:
            link.dataReceived(self._early)


class _InterludeFactory(ClientFactory):
    """The factory that AMP's protocol switch needs."""

    def __init__(self, interlude: _Interlude) -> None:
        self._interlude = interlude

    def buildProtocol(self, addr: object) -> _Interlude:
        """Return the one interlude."""
        return self._interlude


@frozen
class Dialer:
    """
    Dials ``endpoint``, called ``peer`` in messages. ``tls`` and ``tls_name`` (the name in the destination's certificate) go together.
    One attempt to connect may take ``connect_timeout`` seconds. ``encrypted``: the endpoint is, as ssh is, and its other end is proved.
    Without either, a destination of another user of this host is refused, unless ``insecure``.
    """

    runtime: Runtime
    endpoint: IStreamClientEndpoint
    peer: str
    tls: Trusting | None = None
    tls_name: str = ""
    connect_timeout: float = CONNECT_TIMEOUT
    encrypted: bool = False
    insecure: bool = False

    @property
    def confidential(self) -> bool:
        """Whether nobody but the destination can read what is sent."""
        return self.encrypted or self.tls is not None

    async def open(self, channel: Channel, session: bytes = b"", *, met: bool = True) -> None:
        """
        Give ``channel`` its first link. If the destination was never ``met``, it is not waited for as after a restart of its daemon.

        A cut at any moment is no refusal: the same request is sent again. If the destination has made the channel already, it answers for
        that one. ``session`` is the secret of the session whose target it is.

        :raise LinkLost: the destination could not be reached within the handshake timeout.
        :raise TunnelError: it refused, with a reason.
        """

        patience = self.runtime.terms.handshake_timeout

        async def once() -> None:
            await self._begin(channel, OpenChannel, lambda: self._wanted(channel, session), patience * SHARE)

        await self._persist(once, patience, met=met)

    def _wanted(self, channel: Channel, session: bytes) -> dict[str, Any]:
        return {"session": session or None, "target": channel.target, "window": channel.inbound.window, "urgent": channel.urgent}

    async def greet(self) -> None:
        """
        Check that the destination can be reached, is the right one, and admits this source. No channel is opened.

        :raise LinkLost: it could not be reached, as for :meth:`open`.
        :raise TunnelError: it refused, with a reason.
        """
        await self._persist(self.probe, self.runtime.terms.handshake_timeout, met=False)

    async def probe(self) -> None:
        """
        The same as :meth:`greet`, once.

        :raise TunnelError: the destination cannot be reached, or refuses.
        """
        opening = Opening()
        transport = await self._connect(opening, self.runtime.terms.handshake_timeout * SHARE)
        try:
            await self._meet(transport, opening)
            TUNNEL.chosen(await opening.callRemote(Greet, **TUNNEL.offer()), self.peer)
        except LinkLost as lost:
            raise self._mute(lost, transport) from None
        except amp.AmpError as unknown:
            raise self._strange(unknown) from unknown
        finally:
            transport.abortConnection()

    async def resume(self, channel: Channel) -> None:
        """
        Give ``channel`` its next link. Attempts go on until one succeeds, the destination refuses, or this is cancelled.

        :raise TunnelError: the destination will not resume the channel.
        """

        limit = self.runtime.terms.handshake_timeout

        async def once() -> None:
            try:
                await self._begin(channel, ResumeChannel, lambda: {"received": channel.pause()}, limit)
            except (LinkLost, TLSError) as trouble:
                channel.outage.trouble = trouble
                raise LinkLost(str(trouble)) from trouble

        await self._persist(once, float("inf"), channel.flaps.count)

    async def disown(self, ident: bytes, secret: bytes, reason: str) -> None:
        """
        Let the destination end the channel ``ident``, whose end here is gone. Attempts go on for as long as the destination would wait.

        :raise TunnelError: it cannot be reached, or has no such channel.
        """
        terms = self.runtime.terms

        async def once() -> None:
            opening = Opening()
            transport = await self._connect(opening, terms.handshake_timeout)
            try:
                await self._meet(transport, opening)
                about: dict[str, Any] = {"channel": ident, "secret": secret or None, "received": MAX_OFFSET, "ended": reason[:MAX_REASON]}
                await opening.callRemote(ResumeChannel, _InterludeFactory(_Interlude()), **TUNNEL.offer(), **about)
            except AlreadyComplete:
                pass
            except amp.AmpError as unknown:
                raise self._strange(unknown) from unknown
            finally:
                transport.abortConnection()

        await self._persist(once, terms.resume_window)

    async def _persist(self, attempt: Callable[[], Awaitable[None]], patience: float, failures: int = 0, *, met: bool = True) -> None:
        """Repeat ``attempt`` while it fails with LinkLost, for at most ``patience`` seconds; ``failures`` of it came before."""
        reactor = self.runtime.reactor
        begun = reactor.seconds()
        end = begun + patience
        if failures:
            await deferLater(reactor, backoff(failures - 1))
        seen: set[str] = set()
        while True:
            try:
                return await attempt()
            except HostUnknown:  # a resume, which has met the destination, does not raise it
                raise
            except LinkLost as lost:
                seen.add(lost.what)
                delay = backoff(failures)
                failures += 1
                in_vain = not met and isinstance(lost, Unreachable) and reactor.seconds() + delay > begun + REFUSED
                if in_vain or reactor.seconds() + delay > end:
                    raise lost if len(seen) == 1 else LinkLost(lost.what) from lost  # a remedy is for what happens each time
            await deferLater(reactor, delay)

    async def _begin(self, channel: Channel, command: type[amp.Command], arguments: Callable[[], dict[str, Any]], limit: float) -> None:
        """
        Turn one connection into a link of ``channel``, by ``command``, within ``limit`` seconds from when it is connected.

        ``arguments`` is called at the last moment: another link may still deliver data while this begins.
        """
        opening, interlude = Opening(), _Interlude()
        transport = await self._connect(opening, limit)
        try:
            await self._meet(transport, opening)
            factory = _InterludeFactory(interlude)
            answer = await opening.callRemote(
                command, factory, **TUNNEL.offer(), channel=channel.ident, secret=channel.secret or None, **arguments()
            )
            TUNNEL.chosen(answer, self.peer)
            if not MIN_READ <= answer["window"] <= channel.inbound.window:
                raise ProtocolViolation(f"{self.peer}: it offered a window of {size_text(answer['window'])}, which was not requested")
            if command is ResumeChannel and answer["window"] != channel.inbound.window:
                raise ProtocolViolation(f"{self.peer}: it changed the window to {size_text(answer['window'])}")
            channel.agree_window(answer["window"])
            channel.resume(answer["received"])
            interlude.give_way(channel.new_link(), transport)
        except LinkLost as lost:
            raise (self._mute(lost, transport) if command is OpenChannel else lost) from None
        except amp.AmpError as unknown:
            raise self._strange(unknown) from unknown
        finally:
            if not interlude.over:
                transport.abortConnection()
                channel.go_on()

    async def _meet(self, transport: OpeningTransport, opening: Opening) -> None:
        """
        Wait until the connection is up, and check the destination; one that is refused is told why.

        :raise TunnelError: the connection has failed, or the destination is refused.
        """
        await transport.ready
        if self.tls is not None and transport.presented is not None:
            try:
                self.tls.check(transport.presented, self.peer)
            except TLSError as refusal:
                with suppress(TunnelError, amp.AmpError):
                    await opening.callRemote(Greet, **TUNNEL.offer(), refusal=str(refusal))
                raise

    def _strange(self, unknown: amp.AmpError) -> TunnelError:
        if isinstance(unknown, amp.UnknownRemoteError):  # a code of another release
            return TunnelError(f"{self.peer}: {unknown.description}")
        if isinstance(unknown, amp.UnhandledCommand):
            return ProtocolViolation(f"{self.peer}: it is another service, or the destination there has ended")
        return ProtocolViolation(f"{self.peer}: {str(unknown) or 'it is another service, or it requires TLS (--tls-dir)'}")

    def _mute(self, lost: LinkLost, transport: OpeningTransport) -> LinkLost:
        """How it was lost before the first answer, and what the other end may be."""
        if lost.remedy or self.encrypted or transport.presented is not None:
            return lost
        return type(lost)(lost.what, _MUTE if self.tls is None else "is it another service?")

    async def _connect(self, opening: Opening, limit: float) -> OpeningTransport:
        waiting = Deferred.fromCoroutine(connect(self.endpoint))
        waiting.addTimeout(self.connect_timeout, self.runtime.reactor, onTimeoutCancel=self._too_slow)
        try:
            return self._transport(await waiting, opening, limit)
        except ConnectionRefusedError as failure:
            raise Unreachable(f"{self.peer}: connection refused, nobody listens there", "is `nbdtun dest` running?") from failure
        except (DNSLookupError, UnknownHostError) as failure:
            raise HostUnknown(f"{self.peer}: this name has no address", "check its spelling and DNS") from failure
        except (ConnectError, OSError) as failure:
            why = why_unconnected(failure)
            raise LinkLost(f"{self.peer}: {why}", _ROUTE if why in _UNROUTED else "") from failure
        except ConnectingCancelledError:  # Twisted's endpoints raise this when they are cancelled
            raise CancelledError from None

    def _transport(self, sock: socket.socket, opening: Opening, limit: float) -> OpeningTransport:
        runtime = self.runtime
        if not self.confidential and not self.insecure and (who := stranger(sock, accepted=False)):
            sock.close()
            raise LinkLost(f"{self.peer}: {who}", "without TLS, only root and the source's user may listen there, or give --insecure")
        security = None if self.tls is None else Security(self.tls.context(), runtime.terms.records, self.tls_name)
        return OpeningTransport(runtime.selector, sock, self.peer, opening, limit, security, runtime.records)

    def _too_slow(self, result: Any, seconds: float) -> Any:
        if isinstance(result, Failure):
            raise LinkLost(f"{self.peer}: no connection in {seconds:g} s", _ROUTE) from result.value
        return result
