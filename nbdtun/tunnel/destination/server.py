"""
The destination's end of a tunnel: it accepts connections on its one port and connects channels to its targets.

It remembers ended channels for as long as their source may ask for them: a source that missed the last message gets it again.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.python.failure import Failure

from nbdtun.deferreds import branch, end_of
from nbdtun.errors import (
    AlreadyComplete,
    ChannelReset,
    NotAllowed,
    ProtocolViolation,
    ResumeRefused,
    TLSError,
    TunnelError,
)
from nbdtun.logs import make_logger
from nbdtun.tls.failures import explain
from nbdtun.tls.trust import Trusting
from nbdtun.tunnel.channels.carried import Carried, Hosts
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.channels.figures import lost_for
from nbdtun.tunnel.channels.ledger import Ledger
from nbdtun.tunnel.channels.standing import StandingLinks
from nbdtun.tunnel.destination.admission import Admission, Caller, Proof, refuse_strangers
from nbdtun.tunnel.destination.allowlist import AllowList
from nbdtun.tunnel.destination.elsewhere import Elsewhere, Passed, Share
from nbdtun.tunnel.destination.entries import Entries, Entry, Traffic
from nbdtun.tunnel.destination.opening import DestinationOpening
from nbdtun.tunnel.destination.targets import EndpointTarget, Targets
from nbdtun.tunnel.destination.tombstones import Tombstones
from nbdtun.tunnel.opening.detach import Catch
from nbdtun.tunnel.opening.transport import OpeningTransport
from nbdtun.tunnel.runtime.log_limits import RefusalLog
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.settings import Limits, Usage, labels
from nbdtun.tunnel.wires.secure import Moved, Securing, Security


class Destination(ServerFactory):
    """
    Serves sources: opens channels to ``targets``, and resumes them.

    ``tls`` has the context for each connection (None: no TLS), and checks its peer; ``allow`` selects the admitted sources among those that
    are trusted, and may change: open channels stay. Without TLS, sources of other users of this host are refused, unless ``insecure``.
    """

    log = make_logger()
    noisy = False

    def __init__(
        self,
        runtime: Runtime,
        targets: Targets,
        tls: Trusting | None = None,
        allow: AllowList | None = None,
        limits: Limits | None = None,
        *,
        insecure: bool = False,
    ) -> None:
        self.runtime = runtime
        self.targets = targets
        self.channels: set[Carried] = set()
        self.hosts: Hosts | None = None
        self.refusals = RefusalLog(self.log, runtime.call_later)
        self._entries = Entries(limits or Limits())
        self.admission = Admission(self._entries.limits)
        self._tls = tls
        self._insecure = insecure
        self.allow = allow or AllowList()
        self._standing = StandingLinks(runtime, tls, self.channels)
        self.elsewhere = Elsewhere()
        self._leaving = False
        self._received: Counter[str] = Counter()  # by channels that have ended
        self.ledger = Ledger(self.channels)
        self._tombstones = Tombstones(runtime.reactor.seconds, runtime.terms.resume_window)

    def buildProtocol(self, addr: object) -> Protocol:
        """Return the protocol that takes over the connection."""
        return Catch(partial(self.arrived, caller=Caller.at(addr)))

    def limit(self, limits: Limits) -> None:
        """Keep to other limits from now on; what is above them stays."""
        self._entries.limits = limits
        self.admission.limit(limits)

    @property
    def idle(self) -> bool:
        """Whether no channel is open or being opened."""
        return not self._entries

    @property
    def forgotten(self) -> bool:
        """Whether there is nothing either that a source may still ask for: how a channel has ended."""
        return self.idle and not len(self._tombstones) and not len(self.admission)

    @property
    def owners(self) -> Counter[str]:
        """How many channels each source has, those that are being opened included."""
        return self._entries.owners

    @property
    def usage(self) -> Usage:
        """How much of each limit is used."""
        return {**self._entries.usage, "max-handshakes": (self.admission.strangers, self._entries.limits.handshakes)}

    @property
    def lost_for(self) -> float | None:
        """Seconds since the oldest present outage began; None while all channels have links."""
        return lost_for((channel.figures for channel in self.channels), self.runtime.reactor.seconds())

    def arrived(self, sock: socket.socket, caller: Caller) -> None:
        """
        A connection was accepted. It must open or resume a channel soon.

        A caller with an identity has proved it already, without TLS.
        """
        plain = self._tls is None or caller.identity
        opening = DestinationOpening(self, caller)
        try:
            security = None if plain or self._tls is None else Security(self._tls.context(), self.runtime.terms.records)
            transport = self._transport(sock, opening, security)
        except OSError as gone:  # it was reset before TLS began; port scanners do that
            self.refusals.report(caller.address, explain(gone, caller.peer))
            return
        except TLSError as unable:
            self.refusals.report(caller.address, unable)
            sock.close()
            return
        transport.ready.addCallback(self._examine, transport, opening, sock)
        transport.ready.addErrback(self._refused, caller)
        self.admission.enter(transport, caller.address)

    def adopt(self, passed: Passed) -> None:
        """
        Go on with a connection that another process has examined: answer its question.

        :raise OSError: it is already gone.
        :raise TLSError: its records cannot be read here.
        """
        opening = DestinationOpening(self, passed.caller)
        opening.refusal = None
        transport = self._transport(passed.sock, opening, Moved(passed.state))
        transport.ready.addCallback(lambda _: opening.dataReceived(passed.box))
        transport.ready.addErrback(self._refused, passed.caller)
        self.admission.enter(transport, passed.caller.address)
        self.admission.recognise(transport, passed.caller.owner)

    def _transport(self, sock: socket.socket, opening: DestinationOpening, security: Securing | None) -> OpeningTransport:
        runtime, seconds = self.runtime, self.runtime.terms.handshake_timeout
        return OpeningTransport(runtime.selector, sock, opening.caller.peer, opening, seconds, security, runtime.records)

    async def look(self, ident: bytes, target: str, owner: str) -> Share:
        """What there is of a question that another process was asked: here, and where this one has channels elsewhere."""
        known, mine = ident in self._entries or ident in self._tombstones, self.targets.has_session(target)
        here = Share(known, mine, len(self._entries), self.owners[owner])
        return here.and_of(await self.elsewhere.look(ident, target, owner))

    async def passes_on(self, ident: bytes, target: str, caller: Caller, leave: Callable[[], Passed]) -> bool:
        """Whether a question is for another process, which has got its connection then (:exc:`TunnelError`)."""
        if ident in self._entries or ident in self._tombstones:
            return False
        ours = target in self.targets
        return await self.elsewhere.passes_on(ident, target, caller.owner, ours=ours, room=lambda: self._check_room(caller), leave=leave)

    def _examine(self, _: None, transport: OpeningTransport, opening: DestinationOpening, sock: socket.socket) -> None:
        """The peer has proved its certificate, if there is TLS: check whether it is trusted, and admitted."""
        if opening.caller.identity:
            opening.refusal = None
            self.admission.recognise(transport, opening.caller.owner)
            return
        presented = transport.presented
        try:
            if self._tls is not None and presented is not None:
                self._tls.check(presented, transport.peer)
            elif not self._insecure:
                refuse_strangers(sock, transport.peer)
            admitted = self.allow.check(None if presented is None else presented.certificate, transport.peer)
        except (TLSError, NotAllowed) as refusal:
            opening.refusal = refusal  # sent as the answer to its command, so that its operator can read it
            raise
        if presented is not None:
            opening.caller = opening.caller.certified(presented.certificate, admitted)
            self.admission.recognise(transport, opening.caller.owner)
        opening.refusal = None  # last: whatever fails before that, admits nobody

    def check_again(self, transport: OpeningTransport) -> None:
        """
        Check a peer again that becomes a link now: it may have waited since its handshake, while its certificate was revoked.

        :raise TLSError: it has been.
        """
        presented = transport.presented
        if self._tls is not None and presented is not None:
            self._tls.revision()  # it looks for new ones
            self._tls.check_again(presented, transport.peer)

    async def open(self, ident: bytes, target: str, window: int, caller: Caller, proof: Proof, *, urgent: bool = False) -> Carried:
        """
        Return the channel ``ident``: a new one, or the existing one if this is a repeated request.

        :raise TunnelError: there is no such target, it cannot be connected to, or a limit is reached; or it exists and is another one.
        """
        if ident in self._entries or ident in self._tombstones:
            entry = self._entries.get(ident)
            known = entry is not None and entry.belongs_to(caller, proof.channel or b"")
            if known and entry is not None and (entry.target, entry.window) != (target, window):
                raise ProtocolViolation(f"channel {ident.hex()[:8]} was opened with another target or window")
            return await self.find(ident, caller, proof)
        proof.check(tls=bool(caller.identity))
        self._check_room(caller)
        making = Deferred.fromCoroutine(self._make(ident, target, window, caller, proof, urgent=urgent))
        entry = self._entries[ident] = Entry(caller, target, window, proof.channel or b"", Deferred(lambda _: making.cancel()))
        asked = branch(entry.channel)
        making.addCallbacks(entry.channel.callback, lambda failure: self._unmade(ident, entry, failure))
        return await asked

    async def find(self, ident: bytes, caller: Caller, proof: Proof) -> Carried:
        """
        Return the channel ``ident``, if it belongs to ``caller``, who knows its secret.

        :raise TunnelError: it does not, or there is none, or it is over (then how it ended).
        """
        proof.check(tls=bool(caller.identity))
        entry, secret = self._entries.get(ident), proof.channel or b""
        if entry is not None and entry.belongs_to(caller, secret):
            return await branch(entry.channel)
        ending = self._tombstones.find(ident, caller.owns, secret)
        if entry is None and ending is not None:
            raise ending
        raise ResumeRefused(f"the destination has no channel {ident.hex()[:8]} of this source (any more); was its daemon restarted?")

    def traffic(self, target: str) -> Traffic:
        """What has arrived for ``target`` so far, and from whom."""
        arrived = sum(channel.figures.received for channel in self.channels if channel.target == target)
        callers = [entry.caller for entry in self._entries.values() if entry.target == target]
        return Traffic(self._received[target] + arrived, callers[-1] if callers else None)

    def forget(self, target: str) -> None:
        """Count no longer what has arrived for ``target``."""
        self._received.pop(target, None)

    def reset(self, target: str, reason: str) -> None:
        """End the channels to ``target``, including those that are still being opened."""
        self._end(lambda each: each == target, reason)

    async def drained(self, targets: Collection[str]) -> None:
        """Wait until the channels to ``targets`` have ended."""
        while opened := next((entry.channel for entry in self._entries.values() if entry.target in targets), None):
            await end_of(opened)  # it may fail, and then its entry is gone
            for channel in tuple(self.channels):
                if channel.target in targets:
                    await end_of(channel.ended)

    def names(self, targets: Collection[str]) -> list[str]:
        """The names of the open channels to ``targets``."""
        return sorted(channel.name for channel in self.channels if channel.target in targets)

    async def stop(self) -> None:
        """End all channels and connections."""
        self._drop_connections()
        self._end(lambda _: True, "the destination was stopped")

    def leave(self) -> None:
        """End all channels and connections here only: their sources dial until the next daemon has started."""
        self._leaving = True
        self._drop_connections()
        for entry in tuple(self._entries.values()):
            entry.channel.cancel()
        for channel in tuple(self.channels):
            channel.leave("it is left to the next daemon")

    def _drop_connections(self) -> None:
        for transport in self.admission:
            transport.abortConnection()

    def _end(self, wanted: Callable[[str], bool], reason: str) -> None:
        """End the channels to the targets that are ``wanted``."""
        for entry in tuple(self._entries.values()):
            if wanted(entry.target):
                entry.channel.cancel()  # if its target is still being connected to
        for channel in tuple(self.channels):
            if wanted(channel.target):
                channel.reset(ChannelReset(reason))

    def _check_room(self, caller: Caller) -> None:
        self._entries.check_room(caller, self.elsewhere.share)

    async def _make(self, ident: bytes, name: str, window: int, caller: Caller, proof: Proof, *, urgent: bool) -> Carried:
        try:
            target = self.targets.find(name, caller, proof.session)
            sock = await target.connect(name)
            window = min(window, self.runtime.terms.window)
            channel: Carried | None = None
            if self.hosts is not None and isinstance(target, EndpointTarget):
                channel = await self.hosts.make(ident, name, sock, window, urgent=urgent)
        except (CancelledError, ConnectingCancelledError):
            raise ChannelReset(f"the destination gave up target {name} while it was connecting to it") from None
        channel = channel or Channel(self.runtime, ident, name, sock, window, None, urgent=urgent)
        self.channels.add(channel)
        self._standing.watch()
        channel.ended.addCallback(self._channel_ended, channel)
        return channel

    def _unmade(self, ident: bytes, entry: Entry, failure: Any) -> None:
        del self._entries[ident]
        entry.channel.errback(failure)
        entry.channel.addErrback(lambda _: None)  # each request has had its own error

    def _channel_ended(self, error: TunnelError | None, channel: Carried) -> TunnelError | None:
        self.channels.discard(channel)
        if channel.target in self.targets:  # else nobody asks for it again: a worker's end comes after its target's
            self._received[channel.target] += channel.figures.received
        self.ledger.close(channel, error)
        entry = self._entries.pop(channel.ident, None)
        if entry is not None:
            ending = error or AlreadyComplete(f"channel {channel.name} has ended")
            self._tombstones.remember(channel.ident, entry.caller.identity, entry.secret, ending)
        if self._leaving or not self.runtime.line_limit.allows():
            return error
        told = labels(channel.target, channel.name) | ({} if entry is None else {"peer": entry.caller.peer})
        if error is None:
            self.log.info("channel {channel} is complete", **told)
        else:
            self.log.error("channel {channel} failed: {reason}", reason=error.line, code=error.code, **told)
        return error

    def _refused(self, failure: Failure, caller: Caller) -> None:
        error = failure.value
        if not isinstance(error, TunnelError):  # no traceback, which a peer could repeat at will
            error = NotAllowed(f"{caller.peer}: the destination could not examine it: {error!r:.200}")
        self.refusals.report(caller.address, error)
