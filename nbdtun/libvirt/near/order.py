"""
What libvirt is told to do: the flags and parameters of ``virDomainMigrateToURI3``. Rules only.

The numbers are those of libvirt's public header (include/libvirt/libvirt-domain.h), which never change: so a plan needs no binding.

libvirt facts (9.0 and 11): ``PERSIST_DEST`` would make a transient domain persistent. A paused domain arrives paused without a flag. The
bandwidth is in MiB/s, of each disk and then of the memory.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from nbdtun.migration.settings import MigrationSettings, Strategy


class Flag(enum.IntFlag):
    """``virDomainMigrateFlags``."""

    LIVE = 1 << 0
    PEER2PEER = 1 << 1
    PERSIST_DEST = 1 << 3
    UNDEFINE_SOURCE = 1 << 4
    NON_SHARED_DISK = 1 << 6
    ABORT_ON_ERROR = 1 << 12
    AUTO_CONVERGE = 1 << 13
    PARALLEL = 1 << 17
    SYNCHRONOUS_WRITES = 1 << 18


class Xml(enum.IntFlag):
    """``virDomainXMLFlags``."""

    SECURE = 1 << 0
    INACTIVE = 1 << 1
    MIGRATABLE = 1 << 3


MIB: Final = 1 << 20
#: The most that libvirt takes, in MiB/s: bytes per second are in 63 bits. It means no limit.
UNLIMITED: Final = (1 << 43) - 1


@frozen
class Sockets:
    """The ends of the tunnel at the source, in ``directory``; ``mode`` is the path of the far libvirt's URI, ``system`` or ``session``."""

    directory: str
    mode: str = "system"

    @property
    def libvirt(self) -> str:
        """The URI by which the source's libvirtd reaches the destination's."""
        return f"qemu+unix:///{self.mode}?socket={self.directory}/libvirt.sock"

    @property
    def memory(self) -> str:
        """The URI of QEMU's migration stream."""
        return f"unix://{self.directory}/memory.sock"

    @property
    def disks(self) -> str:
        """The URI of the disks' NBD connections."""
        return f"unix://{self.directory}/disks.sock"


@frozen
class Order:
    """One call: the destination's ``uri``, the ``flags`` and the ``parameters``."""

    uri: str
    flags: Flag
    parameters: Mapping[str, Any]


def order(settings: MigrationSettings, sockets: Sockets, disks: tuple[str, ...], xml: str, persistent: str = "") -> Order:
    """
    Return the call for a domain whose ``disks`` (their targets) are copied; ``xml`` is how it is to be at the destination.

    ``persistent`` is its persistent XML there, empty for a transient domain.
    """
    flags = Flag.LIVE | Flag.PEER2PEER | Flag.ABORT_ON_ERROR
    told: dict[str, Any] = {"migrate_uri": sockets.memory, "destination_xml": xml}
    if settings.bandwidth is not None:
        told["bandwidth"] = speed(settings.bandwidth)
    if disks:
        flags |= Flag.NON_SHARED_DISK
        told |= {"disks_uri": sockets.disks, "migrate_disks": list(disks)}
        if Strategy.WRITE_BLOCKING in settings.converge:
            flags |= Flag.SYNCHRONOUS_WRITES
    if persistent:
        flags |= Flag.PERSIST_DEST
        told["persistent_xml"] = persistent
    if not settings.keep_source:
        flags |= Flag.UNDEFINE_SOURCE
    if Strategy.AUTO_CONVERGE in settings.converge:
        flags |= Flag.AUTO_CONVERGE
    if settings.connections:
        flags |= Flag.PARALLEL
        told["parallel.connections"] = settings.connections
    return Order(sockets.libvirt, flags, told)


def speed(bandwidth: int | None) -> int:
    """A bandwidth in bytes per second, as libvirt takes it: whole MiB per second, at least one."""
    return UNLIMITED if bandwidth is None else max(1, bandwidth // MIB)
