"""
The settings of the daemons and of the command: frozen values, checked when they are made.

From the ground up::

    option      an option: its name, its text, its parser
    capacity    the options that say how much a daemon takes on
    options     the options that the command, the daemons and the endpoint strings share
    file        the options of a daemon in a file
    addresses   HOST:PORT and its kin, as endpoint strings
    ssh         ``ssh://HOST``, the other host as the system's ssh knows it
    endpoints   endpoint strings: are they valid, who can reach them, which host do they name
    names       the names of targets and VMs
    values      forwards, targets, VMs, owners of sockets
    settings    the settings of the two daemons and of one migration
    libvirt     the settings of a migration that libvirt does
    timeouts    how time limits and strategies are written as options
    moments     how the moment of a switchover is written
    belongings  how ``--leave-behind`` is written
    answers     what differs between two hosts, where a destination is made
    build       from the values of options to settings
    evacuation  the same for the evacuation of a host

Code that takes settings checks nothing itself. Names, endpoint strings, path lengths, and the rule for endpoints without TLS are verified
when the settings are made. An error is one line (:exc:`nbdtun.errors.ConfigError`).
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
    from nbdtun.config.values import VMPattern as VMPattern
    from nbdtun.migration.settings import MigrationSettings as MigrationSettings
    from nbdtun.migration.settings import StepTimeouts as StepTimeouts
    from nbdtun.migration.settings import Strategy as Strategy
    from nbdtun.migration.timeouts import OnTimeout as OnTimeout
    from nbdtun.migration.timeouts import Timeouts as Timeouts
    from nbdtun.tunnel.settings import Limits as Limits
    from nbdtun.tunnel.settings import LocalLimits as LocalLimits
else:
    from nbdtun.lazy import exports

    _HOMES = {
        "nbdtun.config.settings": "DestinationSettings MigrateSettings SourceSettings TunnelSettings",
        "nbdtun.config.values": "VM FactoryTarget Forward Owner Target VMPattern",
        "nbdtun.migration.settings": "MigrationSettings StepTimeouts Strategy",
        "nbdtun.migration.timeouts": "OnTimeout Timeouts",
        "nbdtun.tunnel.settings": "Limits LocalLimits",
    }
    __all__ = sorted(" ".join(_HOMES.values()).split())
    __getattr__, __dir__ = exports(__name__, _HOMES)
