"""
What the daemons and the command are told, as frozen values that cannot be wrong.

Whoever holds one of these settings needs no check of its own: names, endpoint strings, path lengths and the rule of what may be
reached without TLS are verified when it is made, and what is wrong is said in one line (:exc:`nbdtun.errors.ConfigError`).
"""

from nbdtun.config.endpoints import Address, check_exposure, check_socket_path, host_of
from nbdtun.config.settings import DestinationSettings, MigrateSettings, SourceSettings, TunnelSettings
from nbdtun.config.values import VM, FactoryTarget, Forward, Owner, Target, check_name

__all__ = [
    "VM",
    "Address",
    "DestinationSettings",
    "FactoryTarget",
    "Forward",
    "MigrateSettings",
    "Owner",
    "SourceSettings",
    "Target",
    "TunnelSettings",
    "check_exposure",
    "check_name",
    "check_socket_path",
    "host_of",
]
