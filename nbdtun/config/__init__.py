"""
What the daemons and the command are told, as frozen values that cannot be wrong.

Whoever holds one of these settings needs no check of its own: names, endpoint strings, path lengths and the rule of what may be
reached without TLS are verified when it is made, and what is wrong is said in one line (:exc:`nbdtun.errors.ConfigError`).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbdtun.config.settings import DestinationSettings as DestinationSettings
    from nbdtun.config.settings import MigrateSettings as MigrateSettings
    from nbdtun.config.settings import SourceSettings as SourceSettings
    from nbdtun.config.settings import TunnelSettings as TunnelSettings
    from nbdtun.config.values import VM as VM
    from nbdtun.config.values import FactoryTarget as FactoryTarget
    from nbdtun.config.values import Forward as Forward
    from nbdtun.config.values import Owner as Owner
    from nbdtun.config.values import Target as Target
    from nbdtun.migration.settings import MigrationSettings as MigrationSettings
    from nbdtun.migration.settings import StepTimeouts as StepTimeouts
    from nbdtun.migration.settings import Strategy as Strategy
    from nbdtun.migration.timeouts import OnTimeout as OnTimeout
    from nbdtun.migration.timeouts import Timeouts as Timeouts
    from nbdtun.tunnel.settings import Limits as Limits
else:
    from nbdtun.lazy import exports

    _HOMES = {
        "nbdtun.config.settings": "DestinationSettings MigrateSettings SourceSettings TunnelSettings",
        "nbdtun.config.values": "VM FactoryTarget Forward Owner Target",
        "nbdtun.migration.settings": "MigrationSettings StepTimeouts Strategy",
        "nbdtun.migration.timeouts": "OnTimeout Timeouts",
        "nbdtun.tunnel.settings": "Limits",
    }
    __all__ = sorted(" ".join(_HOMES.values()).split())
    __getattr__, __dir__ = exports(__name__, _HOMES)
