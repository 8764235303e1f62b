"""
The worker itself: the channels that it has, and what its daemon's main process asks of them.

At a destination each link comes from there, examined and answered. At a source a worker dials by itself, with the settings' certificates.
"""

from __future__ import annotations

import pickle
import socket
from typing import Any, Final

from attrs import astuple
from twisted.internet.defer import Deferred

from nbdtun import __version__
from nbdtun.config import TunnelSettings
from nbdtun.config.settings import Dialling
from nbdtun.errors import LinkLost, ResumeRefused, TunnelError, VersionMismatch, error_of
from nbdtun.logs import make_logger
from nbdtun.process import Reactor
from nbdtun.service.local.descriptors import Crossed
from nbdtun.service.tunnel.build import make_runtime, make_source, retrust
from nbdtun.service.workers.commands import ACTS, Act, Attach, Begin, Delivered, Ended, Line, Look, Make, Open, Part, Resume, Settle, Told
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.channels.figures import Figures
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.wires.secure import Moved

#: Seconds between two looks at what has changed.
LOOK: Final = 1.0

#: Channels whose figures go into one message.
AT_ONCE: Final = 256


class Keeper(Crossed):
    """Answers the main process. It has nothing until that has said with which settings it begins."""

    log = make_logger()
    failed = TunnelError
    channel = "connection"
    other = "the daemon's main process"
    here = "in a worker"
    limited = False

    def __init__(self, reactor: Reactor) -> None:
        super().__init__(reactor)
        self._reactor = reactor
        self._runtime: Runtime
        self._source: Source | None = None
        self._settings: Dialling | TunnelSettings | None = None
        self._channels: dict[bytes, Channel] = {}
        self._turns: dict[bytes, int] = {}
        self._told: dict[bytes, Figures] = {}
        self._looking = self._hurrying = False

    def send(self, event: dict[str, Any]) -> None:
        """Let the main process write an event of the log."""
        self.notify(Line, event=event)

    # Of the whole.

    @Begin.responder
    def begin(self, release: str, settings: bytes, spare: int, bucket: int, rate: int | None = None) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            if release != __version__:
                raise VersionMismatch(f"it is of release {__version__}, the daemon of {release}", "`nbdtun reload --program` replaces that")
            self._settings = told = pickle.loads(settings)  # written by the process that has started us
            if isinstance(told, Dialling):
                self._source = make_source(self._reactor, told)
                self._runtime = self._source.runtime
            else:
                self._runtime = make_runtime(self._reactor, told)
            self._runtime.spare.left = spare
            self._runtime.throttle.rate = rate
            self._runtime.throttle.join(bucket)
            self._runtime.contact.heeded.append(self._tell_soon)
            return {}

        return self.respond(work)

    @Settle.responder
    def settle(self, settings: bytes | None = None, rate: int | None = None) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            if self._settings is None:
                return {}  # it has refused to begin
            if self._runtime.throttle.rate != rate:
                self._runtime.throttle.rate = rate
            if settings is not None and self._source is not None:
                before, told = self._settings, pickle.loads(settings)
                assert isinstance(before, Dialling)
                assert isinstance(told, Dialling)
                retrust(self._source.tls, before.tunnel, told.tunnel)
                self._settings = told  # last: those that cannot be used are tried again with the next
            return {}

        return self.respond(work)

    @Look.responder
    def look(self) -> dict[str, Any]:
        self._tell()
        return {}

    # Of one channel.

    @Make.responder
    def make(self, channel: bytes, sock: int, target: str, window: int, urgent: bool) -> dict[str, Any]:
        made = Channel(self._runtime, channel, target, socket.socket(fileno=sock), window, None, urgent=urgent)
        self._keep(made)
        return {}

    @Open.responder
    def open(self, channel: bytes, sock: int, target: str, urgent: bool, secret: bytes, session: bytes, farewell: bool) -> Deferred[Any]:
        def part() -> Deferred[Any]:
            return Deferred.fromCoroutine(self.ask(Part, seconds=None, channel=channel))

        async def work() -> dict[str, Any]:
            assert self._source is not None
            about: dict[str, Any] = {"urgent": urgent, "secret": secret, "session": session, "farewell": part if farewell else None}
            await self._source.open(target, socket.socket(fileno=sock), ident=channel, made=self._keep, **about)
            return {}

        return self.respond(work)

    @Resume.responder
    def resume(self, channel: bytes, received: int) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            found = self._find(channel)
            found.resume(received)
            self._turns[channel] = turn = self._turns.get(channel, 0) + 1
            return {"received": found.inbound.received, "window": found.inbound.window, "turn": turn}

        return self.respond(work)

    @Attach.responder
    def attach(self, channel: bytes, turn: int, sock: int, state: LinkState | None = None) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            taken = socket.socket(fileno=sock)
            try:
                found = self._find(channel)
                if turn != self._turns.get(channel):
                    raise LinkLost(f"channel {found.name}: a newer link is on its way")
                link = found.new_link()
                link.begin(Moved(state).wire(self._runtime.selector, taken, link, self._runtime.records))
            except (OSError, TunnelError) as error:
                taken.close()
                raise LinkLost(str(error)) from error
            return {}

        return self.respond(work)

    @Act.responder
    def act(self, channel: bytes, what: str, code: str, reason: str) -> dict[str, Any]:
        found = self._channels.get(channel)
        if found is not None and what in ACTS:
            error = error_of(code, reason, TunnelError, TunnelError)
            found.leave(reason) if what == "leave" else getattr(found, what)(error)
        return {}

    def _find(self, ident: bytes) -> Channel:
        found = self._channels.get(ident)
        if found is None:
            raise ResumeRefused(f"the worker has no channel {ident.hex()[:8]} any more")
        return found

    def _keep(self, channel: Channel) -> None:
        self._channels[channel.ident] = channel
        channel.delivered.addCallback(self._delivered, channel)
        channel.ended.addCallback(self._ended, channel)
        if not self._looking:
            self._looking = True
            self._reactor.callLater(LOOK, self._look)

    def _delivered(self, _: None, channel: Channel) -> None:
        if not channel.ended.called:
            self.notify(Delivered, channel=channel.ident)

    def _ended(self, error: TunnelError | None, channel: Channel) -> TunnelError | None:
        ident = channel.ident
        for table in (self._channels, self._turns, self._told):
            table.pop(ident, None)
        why = {} if error is None else {"code": error.code, "reason": str(error)}
        self.notify(Ended, channel=ident, figures={"row": astuple(channel.figures)}, **why)
        return error

    # What they have done.

    def _look(self) -> None:
        self._looking = False
        if self._channels:
            self._tell()
            self._looking = True
            self._reactor.callLater(LOOK, self._look)

    def _tell_soon(self) -> None:
        """A link was lost, or is back; so may be those of others."""
        if not self._hurrying:
            self._hurrying = True
            self._reactor.callLater(0, self._tell)

    def _tell(self) -> None:
        """Tell what has changed."""
        self._hurrying = False
        changed = {ident: now for ident, each in self._channels.items() if (now := each.figures) != self._told.get(ident)}
        self._told |= changed
        rows = [(ident.hex(), astuple(figures)) for ident, figures in changed.items()]
        for begin in range(0, len(rows), AT_ONCE):
            self.notify(Told, figures=dict(rows[begin : begin + AT_ONCE]))
