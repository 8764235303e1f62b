"""What is known of the QEMU at the source: its process, and what its monitor tells. Nobody is asked here."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from nbdtun.spawn.command.line import Option


@frozen
class Node:
    """
    An image that QEMU has open: ``name`` is its node's, ``device`` the id of its ``-drive``, ``file`` as the command line had it.

    ``options`` are those of ``qemu-img create`` that matter. ``unfit`` is the reason if no image can be made like it. ``chain``
    are the files of its backing chain, the next one first.
    """

    name: str
    format: str
    file: str
    size: int
    device: str = ""
    qdev: str = ""
    read_only: bool = False
    allocated: int = 0
    options: Mapping[str, str] = field(factory=dict)
    unfit: str = ""
    chain: tuple[str, ...] = ()
    backing_format: str = ""
    #: Whether it is the drive of a device, and not only a part of one.
    drive: bool = False


@frozen
class Source:
    """
    A QEMU: the ``emulator``'s path, the ``options`` of its command line, and the directory that relative paths begin at, empty if unknown.

    ``machine`` is the type that runs, ``user`` the one whose process it is, ``plugged`` are the ids of its devices, ``files`` the paths of
    its open files. ``qmp`` is the monitor that it was reached by.
    """

    vm: str
    emulator: str
    options: tuple[Option, ...]
    machine: str
    qmp: str
    directory: str = ""
    user: str = ""
    kvm: bool = False
    nodes: tuple[Node, ...] = ()
    plugged: frozenset[str] = frozenset()
    files: tuple[str, ...] = ()
