"""
The services that join tunnel and migration: for the command, for the daemons, and for an application that embeds nbdtun.

From the ground up::

    local        sockets and directories of this host, and their owners
    tunnel       the tunnel, built from settings, and as the migration uses it
    control      the control sockets that `nbdtun status`, `set`, `reload` and `cancel` reach
    planning     a destination that is planned and made at the far end
    checks       the checks of a migration that need neither QEMU nor the tunnel, and those of a QEMU
    libvirt      migrations of libvirt's VMs
    checking     `nbdtun check`, for both kinds of VMs
    evacuation   all VMs of this host, each by a process of its own
    survey       what a daemon serves, and what is under way
    succession   a daemon's program, and the one that takes its place
    workers      processes that have a daemon's channels
    doing        what a daemon does, in a few words
    source       forwards sockets of this host through a tunnel
    destination  one port, its targets, and the VMs that may arrive
    sources      the sources of one VM's destination, by their certificates
    receive      a destination for one VM, which ends by itself
    door         the way to it from an ssh session
    offered      a destination for one VM, which a code leads to
    migration    one migration with its tunnel

All of them take the reactor and frozen settings from :mod:`nbdtun.config`; twistd has no privilege. The values that they report, and the
errors that an application handles, can be imported from here too.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbdtun.errors import ConfigError as ConfigError
    from nbdtun.errors import GuestLost as GuestLost
    from nbdtun.errors import MigrationError as MigrationError
    from nbdtun.errors import NbdtunError as NbdtunError
    from nbdtun.errors import OutcomeUnknown as OutcomeUnknown
    from nbdtun.errors import TunnelError as TunnelError
    from nbdtun.evacuation.overview import Overview as Overview
    from nbdtun.evacuation.rules import Rules as Rules
    from nbdtun.evacuation.terms import Terms as Terms
    from nbdtun.evacuation.values import Entry as Entry
    from nbdtun.migration.check.activity import Activity as Activity
    from nbdtun.migration.check.forecast import Forecast as Forecast
    from nbdtun.migration.check.report import Report as Report
    from nbdtun.migration.finding import Finding as Finding
    from nbdtun.migration.finding import Level as Level
    from nbdtun.migration.progress import DiskProgress as DiskProgress
    from nbdtun.migration.progress import LinkState as LinkState
    from nbdtun.migration.progress import Measures as Measures
    from nbdtun.migration.progress import MemoryProgress as MemoryProgress
    from nbdtun.migration.progress import Phase as Phase
    from nbdtun.migration.progress import Progress as Progress
    from nbdtun.migration.supervision.moment import Moment as Moment
    from nbdtun.process import steady as steady
    from nbdtun.service.checking import check as check
    from nbdtun.service.control.daemon import DaemonControl as DaemonControl
    from nbdtun.service.destination import DestinationService as DestinationService
    from nbdtun.service.evacuation.run import Evacuation as Evacuation
    from nbdtun.service.evacuation.run import evacuate as evacuate
    from nbdtun.service.migration import MigrationService as MigrationService
    from nbdtun.service.migration import migrate as migrate
    from nbdtun.service.migration import recover as recover
    from nbdtun.service.migration import resolve as resolve
    from nbdtun.service.source import SourceService as SourceService
    from nbdtun.service.tunnel.endpoint import ChannelEndpoint as ChannelEndpoint
else:
    from nbdtun.lazy import exports

    _HOMES = {
        "nbdtun.errors": "ConfigError GuestLost MigrationError NbdtunError OutcomeUnknown TunnelError",
        "nbdtun.evacuation.overview": "Overview",
        "nbdtun.evacuation.rules": "Rules",
        "nbdtun.evacuation.terms": "Terms",
        "nbdtun.evacuation.values": "Entry",
        "nbdtun.migration.check.activity": "Activity",
        "nbdtun.migration.finding": "Finding Level",
        "nbdtun.migration.check.forecast": "Forecast",
        "nbdtun.migration.check.report": "Report",
        "nbdtun.migration.progress": "DiskProgress LinkState Measures MemoryProgress Phase Progress",
        "nbdtun.migration.supervision.moment": "Moment",
        "nbdtun.process": "steady",
        "nbdtun.service.checking": "check",
        "nbdtun.service.control.daemon": "DaemonControl",
        "nbdtun.service.destination": "DestinationService",
        "nbdtun.service.evacuation.run": "Evacuation evacuate",
        "nbdtun.service.migration": "MigrationService migrate recover resolve",
        "nbdtun.service.source": "SourceService",
        "nbdtun.service.tunnel.endpoint": "ChannelEndpoint",
    }
    __all__ = sorted(" ".join(_HOMES.values()).split())
    __getattr__, __dir__ = exports(__name__, _HOMES)
