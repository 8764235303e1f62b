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
from nbdtun.service.destination import DestinationService
from nbdtun.service.migration import MigrationService, migrate, resolve
from nbdtun.service.preflight import check
from nbdtun.service.source import SourceService

__all__ = ["check", "destination_service", "migrate", "migration_service", "resolve", "source_service"]


def source_service(reactor: Any, settings: SourceSettings) -> IService:
    """
    Make the service that forwards sockets of this host to targets of the destination.

    :raise ConfigError: the certificates cannot be used.
    """
    return SourceService(reactor, settings)


def destination_service(reactor: Any, settings: DestinationSettings) -> IService:
    """
    Make the service that accepts sources, and lets VMs arrive.

    :raise ConfigError: the certificates cannot be used.
    """
    return DestinationService(reactor, settings)


def migration_service(
    reactor: Any, settings: MigrateSettings, then: Callable[[NbdtunError | CancelledError | None], object] = lambda error: None
) -> IService:
    """
    Make the service that migrates one VM as soon as it is started; stopped before the end, it rolls back.

    ``then`` is called when the migration has come to its own end, with the error if it failed or was cancelled by `nbdtun cancel`.

    :raise ConfigError: the certificates cannot be used.
    """
    return MigrationService(reactor, settings, then)
