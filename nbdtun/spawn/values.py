"""
A plan, and what the far end has found of it, as frozen values. Both are JSON between the two ends: see :mod:`.wire`.

Paths are those of the far end, but for each ``origin``, which is the path at the source. Sizes are in bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from attrs import field, frozen

from nbdtun.migration.capacity import Space
from nbdtun.migration.finding import Finding, Level


class Role(enum.StrEnum):
    """What QEMU does with a path, and so what must be there."""

    MEDIUM = "medium"  # reads it: a CD-ROM, a base image; it has the same content
    FIRMWARE = "firmware"  # reads it at the start: firmware, a kernel; it has the same content
    PRESENT = "file"  # reads it: a certificate, a secret; its content is not compared
    DIRECTORY = "directory"  # uses it
    MEMORY = "directory for RAM"  # makes nameless files of RAM in it
    RAM = "file for RAM"  # makes it, and overwrites it
    SOCKET = "socket"  # makes it, and listens
    SERVED = "served socket"  # connects to it
    LOG = "log"  # makes it, and overwrites it
    APPENDED = "appended log"  # makes it, or writes to its end
    PIDFILE = "pidfile"  # makes it
    ACCESS = "device"  # opens it for reading and writing: /dev/kvm


#: Roles whose files QEMU makes, and whose directories are made for it.
MADE = frozenset({Role.SOCKET, Role.LOG, Role.APPENDED, Role.PIDFILE, Role.RAM})
#: Roles whose content is the same at both ends.
COMPARED = frozenset({Role.MEDIUM, Role.FIRMWARE})


@frozen
class Path:
    """A ``path`` in the command line; ``where`` is the option that has it. ``size`` and ``digest`` (SHA-256) are those at the source."""

    path: str
    role: Role
    where: str
    origin: str = ""
    size: int = 0
    digest: str = ""


@frozen
class Twin:
    """
    How an image at the source can be known again, if the far end sees it too.

    A file named ``nonce`` lies beside it; ``name`` and ``inode`` are the image's own, ``identity`` is that of a block device.
    """

    nonce: str = ""
    name: str = ""
    inode: int = 0
    identity: str = ""


@frozen
class Image:
    """
    A writable image, for the disk ``node``: with this ``format``, virtual ``size`` and the ``options`` of ``qemu-img create``.

    ``needed`` is the space that it will take. ``device``: it is a block device, which must exist. ``owner`` and ``group`` are names.
    """

    node: str
    path: str
    format: str
    size: int
    options: Mapping[str, str] = field(factory=dict)
    needed: int = 0
    device: bool = False
    owner: str = ""
    group: str = ""
    mode: int = 0o600
    origin: str = ""
    twin: Twin = Twin()
    backing: str = ""
    backing_format: str = ""


class Network(enum.StrEnum):
    """The kinds of network interfaces that must exist at the far end."""

    TAP = "tap"
    BRIDGE = "bridge"


@frozen
class Interface:
    """A network interface that QEMU uses; ``setting`` is the ``--set`` that would change it."""

    name: str
    kind: Network
    where: str
    setting: str


@frozen
class Port:
    """A TCP or UDP port on which QEMU listens at ``host`` (empty: all addresses)."""

    host: str
    port: int
    where: str
    udp: bool = False


@frozen
class Machine:
    """
    What the far end's QEMU must know: a machine type, a CPU model, and devices by their names. ``kvm``: it runs with KVM.

    ``iothreads``: a controller of disks has a thread of its own.
    """

    type: str
    cpu: str = ""
    features: tuple[str, ...] = ()
    kvm: bool = False
    devices: tuple[str, ...] = ()
    iothreads: bool = False


@frozen
class Plan:
    """
    A destination for ``vm``: what is made, what must be there, and the command line, whose first word is the ``emulator``.

    ``qmp`` is its monitor. ``user`` is the one that runs QEMU at the source. ``findings`` are those that the source's command line gives.
    """

    vm: str
    emulator: str
    arguments: tuple[str, ...]
    qmp: str
    machine: Machine
    user: str = ""
    images: tuple[Image, ...] = ()
    paths: tuple[Path, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    ports: tuple[Port, ...] = ()
    overwrite: bool = False
    unit: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def fit(self) -> bool:
        """Whether nothing is in its way so far."""
        return all(finding.level is not Level.FAILURE for finding in self.findings)


@frozen
class Found:
    """
    What the far end has found: its ``findings`` about a plan, and the whole paths of its ``emulator`` and ``missing`` directories.

    ``release`` is its QEMU's version, ``spaces`` the disk space that the images need. The findings are complete: what the plan itself had
    is not repeated.
    """

    emulator: str = ""
    release: str = ""
    missing: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    spaces: tuple[Space, ...] = ()
