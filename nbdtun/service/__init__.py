"""
Builds and starts the parts: what the faces use, and what an application that embeds nbdtun uses.

Each function takes the reactor and frozen settings from :mod:`nbdtun.config`; nothing here is a face, and twistd has no privilege.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import IService
from twisted.internet.defer import CancelledError

from nbdtun.config import DestinationSettings, MigrateSettings, SourceSettings
from nbdtun.errors import NbdtunError
from nbdtun.service.checks.preflight import check
from nbdtun.service.control.daemon import DaemonControl
from nbdtun.service.destination import DestinationService
from nbdtun.service.migration import MigrationService, migrate, resolve
from nbdtun.service.source import SourceService

__all__ = ["check", "destination_service", "governor_service", "migrate", "migration_service", "resolve", "source_service"]


def source_service(reactor: Any, settings: SourceSettings) -> SourceService:
    """
    Make the service that forwards sockets of this host to targets of the destination.

    :raise ConfigError: the certificates cannot be used.
    """
    return SourceService(reactor, settings)


def destination_service(reactor: Any, settings: DestinationSettings) -> DestinationService:
    """
    Make the service that accepts sources, and lets VMs arrive.

    :raise ConfigError: the certificates cannot be used.
    """
    return DestinationService(reactor, settings)


def governor_service(reactor: Any, run_dir: str | None, plugin: str, of: SourceService | DestinationService) -> IService:
    """
    Make the service by which `nbdtun status` and `nbdtun set PID --bandwidth` reach what ``of`` sends; one of a process is enough.

    An application that has both in one process sets ``of.tunnel.runtime.throttle.rate`` (bytes per second, None for no limit) itself.
    """
    return DaemonControl(reactor, run_dir, plugin, of.tunnel.runtime.throttle)


def migration_service(
    reactor: Any, settings: MigrateSettings, then: Callable[[NbdtunError | CancelledError | None], object] = lambda error: None
) -> IService:
    """
    Make the service that migrates one VM as soon as it is started; stopped before the end, it rolls back.

    ``then`` is called when the migration has come to its own end, with the error if it failed or was cancelled by `nbdtun cancel`.

    :raise ConfigError: the certificates cannot be used.
    """
    return MigrationService(reactor, settings, then)
