"""
The service that listens for Prometheus, beside a daemon or a migration.

A daemon that cannot listen does not start, as with its own port; nor does a migration begin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.process_collector import ProcessCollector
from twisted.internet.defer import Deferred, maybeDeferred

from nbdtun.config import MigrateSettings, TunnelSettings
from nbdtun.config.endpoints import Role, parse
from nbdtun.config.libvirt import DomainSettings
from nbdtun.metrics import arrivals, health, host, tunnel
from nbdtun.metrics.before import Counted
from nbdtun.metrics.departure import Departure
from nbdtun.metrics.families import Asked
from nbdtun.metrics.site import make_site
from nbdtun.migration.progress import Progress
from nbdtun.process import Reactor
from nbdtun.service.destination import DestinationService
from nbdtun.service.local.listening import ListeningService
from nbdtun.service.migration import MigrationService
from nbdtun.service.source import SourceService
from nbdtun.service.tunnel.build import make_listener
from nbdtun.tls.store import CLIENT_CERT, SERVER_CERT

Families = Callable[[], Iterable[Metric]]


class MetricsService(ListeningService):
    """
    Serves ``families``, and those of the process, where the settings' ``metrics`` say. ``unready`` returns why work would not be done now,
    or nothing.

    :raise ConfigError: when started, if it cannot listen there.
    """

    def __init__(self, reactor: Reactor, settings: TunnelSettings, unready: Callable[[], str], *families: Families) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(Asked(*families))
        ProcessCollector(registry=registry)
        site = make_site(reactor, registry, unready)
        super().__init__(make_listener(reactor, parse(settings.metrics, Role.LISTEN), settings), site)

    @classmethod
    def of_destination(cls, reactor: Reactor, service: DestinationService) -> MetricsService:
        """Those of a destination's daemon."""
        return cls(
            reactor,
            service.settings.tunnel,
            lambda: health.unready(service),
            lambda: host.of(service.settings.tunnel.store, SERVER_CERT),
            Counted(service.household, lambda: tunnel.of(service.tunnel), lambda: arrivals.of(service)).families,
        )

    @classmethod
    def of_source(cls, reactor: Reactor, *services: object) -> MetricsService:
        """Those of a source's daemon: of its forwards, and of its migration, which has a tunnel of its own."""
        moving = next((each for each in services if isinstance(each, MigrationService)), None)
        forwarding = next((each for each in services if isinstance(each, SourceService)), None)
        departure = None
        if moving is not None:
            departure = Departure(moving.settings.migration.vm)
            moving.watchers.append(departure.audience)
        if forwarding is None:
            assert moving is not None
            assert departure is not None
            return cls.of_departure(reactor, moving.settings.tunnel, departure)
        return cls(
            reactor,
            forwarding.settings.tunnel,
            lambda: health.unready(forwarding),
            lambda: host.of(forwarding.settings.tunnel.store, CLIENT_CERT),
            Counted(forwarding.senders, lambda: tunnel.of(forwarding.tunnel)).families,
            *([departure.progress] if departure else []),
        )

    @classmethod
    def of_departure(cls, reactor: Reactor, settings: TunnelSettings, departure: Departure) -> MetricsService:
        """Those of a migration."""
        of_host = partial(host.of, settings.store, CLIENT_CERT)
        return cls(reactor, settings, lambda: departure.unready, of_host, departure.progress, departure.tunnel)


Start = Callable[..., "Deferred[Progress]"]


def measured(
    reactor: Reactor, settings: MigrateSettings | DomainSettings, start: Start, report: Callable[[Progress], None]
) -> Deferred[Progress]:
    """
    Begin the migration that ``start`` begins, and serve its metrics until it ends; fires as it does. Cancelling it cancels that.

    :raise ConfigError: (in the Deferred) it cannot listen; nothing has begun.
    """
    departure = Departure(settings.migration.vm)
    service = MetricsService.of_departure(reactor, settings.tunnel, departure)

    def heed(progress: Progress) -> None:
        departure.audience.report(progress)
        report(progress)

    def end(result: object) -> Deferred[object]:
        return maybeDeferred(service.stopService).addCallback(lambda _: result)

    return maybeDeferred(service.startService).addCallback(lambda _: start(heed, meet=departure.audience.meet)).addBoth(end)
