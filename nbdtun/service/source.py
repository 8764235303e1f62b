"""The service behind ``twistd nbdtun-source``: forwards sockets of this host to targets of the destination."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred

from nbdtun.config import VM, Forward, SourceSettings, VMPattern
from nbdtun.deferreds import end_of, with_timeout
from nbdtun.errors import ConfigError, MigrationError, ShuttingDown, TunnelError
from nbdtun.logs import make_logger
from nbdtun.process import Reactor
from nbdtun.service.doing import Pace, doing
from nbdtun.service.local.listening import ListeningService
from nbdtun.service.local.waiting import listed, patience
from nbdtun.service.succession.generation import Senders
from nbdtun.service.survey import certificates_of, links_of
from nbdtun.service.tunnel.build import make_listener, make_source, retrust
from nbdtun.service.tunnel.late import LateDialer
from nbdtun.service.tunnel.records import explain
from nbdtun.service.workers.crew import Crew, Workers
from nbdtun.tls.store import CLIENT_CERT
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.source.forwarder import Forwarder
from nbdtun.units import duration_text


class SourceService(MultiService):
    """
    Listens on the settings' forwards. When stopped, it stops listening, removes its sockets and ends its channels; :meth:`drain` before
    that lets them end by themselves. ``workers`` have its channels, if there are to be some.

    :raise ConfigError: when made, if the certificates cannot be used; when started, if a socket cannot be made.
    """

    log = make_logger()

    def __init__(self, reactor: Reactor, settings: SourceSettings, workers: Workers | None = None) -> None:
        super().__init__()
        if settings.tunnel.tls_dir:
            self.log.info("{records}", records=explain(settings.tunnel.records))
        self.settings = settings
        self.draining = False
        self._greeting: Deferred[None] | None = None
        self._late = LateDialer.by(reactor, settings, self._say) if settings.by_ssh is not None else None
        self.tunnel = Source(self._late, settings.limits) if self._late is not None else make_source(reactor, settings)
        self._pace = Pace(self.tunnel.ledger, reactor.seconds)
        self._reactor = reactor
        self.listening: dict[str, ListeningService] = {}
        self.senders = Senders(self.tunnel, self._fixed)
        self.crew = Crew.of(self.tunnel, settings.dialling, workers, lambda: self.senders.replaced_by is None)
        for forward in settings.forwards:
            self._forward(forward, settings)

    def _forward(self, forward: Forward, settings: SourceSettings) -> None:
        """Listen for it, or change its target if that is done already; :exc:`ConfigError` if its socket cannot be made."""
        found = self.listening.get(forward.endpoint)
        if found is None:
            endpoint = make_listener(self._reactor, forward.address, settings.tunnel)
            found = self.listening[forward.endpoint] = ListeningService(endpoint, Forwarder(self.tunnel, forward.target))
            found.setServiceParent(self)
        found.factory.target, found.factory.urgent = forward.target, forward.target in settings.urgent

    def serve(self, add: Iterable[VM | VMPattern], remove: Iterable[str] = ()) -> list[str]:
        """
        Refuse: VMs arrive at a destination.

        :raise MigrationError: always.
        """
        raise MigrationError("VMs are for a destination's daemon; this one is a source's")

    async def take(self, settings: SourceSettings) -> None:
        """
        Go on with ``settings``, which differ from those in force only where a running daemon can change: forwards and which are urgent,
        limits, bandwidth, ``drain_timeout`` and the certificates. Channels are left alone. Once it was replaced, forwards are another
        process's.

        :raise ShuttingDown: it is draining.
        :raise ConfigError: the certificates cannot be used, or a socket cannot be made; then nothing has changed.
        """
        if self.draining:
            raise ShuttingDown("the daemon is shutting down, and takes no changes")
        before, known = self.settings, set(self.listening)
        if self.senders.replaced_by is not None:
            settings = evolve(settings, forwards=before.forwards)
        try:  # first what can fail
            for forward in settings.forwards:
                if forward.endpoint not in known:
                    self._forward(forward, settings)
            retrust(self.tunnel.tls, before.tunnel, settings.tunnel)
        except ConfigError:
            await self._forget(set(self.listening) - known)
            raise
        for forward in settings.forwards:
            self._forward(forward, settings)
        await self._forget(set(self.listening) - {forward.endpoint for forward in settings.forwards})
        self.tunnel.users.limits = settings.limits
        if settings.tunnel.bandwidth != before.tunnel.bandwidth:
            self.tunnel.runtime.throttle.rate = settings.tunnel.bandwidth
        self.crew.settle(settings.dialling)
        self.settings = settings

    async def _forget(self, endpoints: Iterable[str]) -> None:
        """Listen there no longer."""
        for endpoint in endpoints:
            await maybeDeferred(self.listening.pop(endpoint).disownServiceParent)

    def startService(self) -> None:
        """Listen; and say in the log, once, whether the destination can be reached. The local programs come whenever they like."""
        super().startService()
        self.crew.open()
        self._greeting = Deferred.fromCoroutine(self._greet())

    async def _greet(self) -> None:
        try:
            await self.tunnel.greet()
        except CancelledError:
            return
        except TunnelError as error:
            what = "the destination cannot be reached: {reason}; until it can, local connections are closed"
            self.log.warn(what, reason=error.line, code=error.code)
        else:
            self.log.info("the destination {connect} answers", connect=self.settings.connect)

    def _say(self, line: str) -> None:
        self.log.info("{line}", line=line)

    def drain(self) -> Deferred[None]:
        """
        Stop listening, and wait until the channels under way have ended by themselves, for at most the settings' ``drain_timeout``.

        Cancelling the Deferred ends the wait. Stop the service in any case.
        """
        self.draining = True
        self.senders.end_all()
        return Deferred.fromCoroutine(self._drain())

    async def _drain(self) -> None:
        await super().stopService()
        seconds = self.settings.drain_timeout
        if under_way := self.under_way:
            self.log.info("shutting down: {waiting}", waiting=patience(under_way, seconds))
        until = self._reactor.seconds() + seconds
        await self.tunnel.drain(seconds)
        if (earlier := self.senders.earlier) is not None:
            left = max(0.0, until - self._reactor.seconds())
            with suppress(TimeoutError):
                await with_timeout(self._reactor, left, end_of(earlier.when_lost()), TimeoutError)
        if self.tunnel.channels:
            why = f"--drain-timeout ({duration_text(seconds)}) has passed"
            self.log.warn("{why}: ending {what}", why=why, what=listed(self.under_way))

    @property
    def under_way(self) -> list[str]:
        """What a shutdown would wait for, in words."""
        earlier = ["the program before this one"] * (self.senders.earlier is not None)
        return sorted(f"channel {channel.name}" for channel in self.tunnel.channels) + earlier

    def _fixed(self) -> str:
        if self._late is not None:
            return "it reaches its destination by ssh, and the far end is for one process"
        return "the daemon is shutting down" if self.draining else ""

    @property
    def _state(self) -> str:
        if self.draining:
            return "draining"
        return "serving" if self.senders.replaced_by is None else "replaced"

    async def survey(self) -> dict[str, Any]:
        """What it forwards, for `nbdtun status`."""
        await self.crew.look()
        forwards = [
            {
                "target": forward.target,
                "listen": forward.endpoint,
                "channels": sum(channel.target == forward.target for channel in self.tunnel.channels),
            }
            for forward in self.settings.forwards
        ]
        return {
            "connect": self.settings.connect,
            "state": self._state,
            **self.senders.told,
            "waits_for": self.under_way if self.draining else [],
            **certificates_of(self.settings.tunnel.store, CLIENT_CERT),
            **links_of(self.tunnel),
            "workers": self.crew.report,
            "forwards": forwards,
        }

    def doing(self) -> str:
        """The same in a few words."""
        return doing(0, len(self.tunnel.channels), self._pace.look(), self.under_way if self.draining else None)

    def stopService(self) -> Deferred[None]:
        """Stop; fires when everything is closed."""

        async def stop() -> None:
            if self._greeting is not None:
                self._greeting.cancel()
            self.senders.end_all()
            await super(SourceService, self).stopService()
            await self.tunnel.stop()
            await self.crew.close()
            if self._late is not None:
                await self._late.close()

        return Deferred.fromCoroutine(stop())
