"""What both ends of a migration have agreed on, before libvirt's connection is opened."""

from __future__ import annotations

from uuid import UUID

from attrs import frozen


@frozen
class Grant:
    """
    What one tunnelled connection to the destination's libvirtd may be used for.

    ``places`` has all that the domain may name of this host, as :func:`nbdtun.libvirt.rpc.places.places` writes it.
    """

    name: str
    uuid: UUID
    #: The driver that the connection opens: ``qemu:///system`` or ``qemu:///session``.
    uri: str
    #: The URI of the socket for the memory, as libvirt is given it: ``unix:/run/nbdtun/libvirt/ID/memory.sock``.
    memory: str
    #: That of the socket for the disks; empty if none is copied.
    disks: str = ""
    places: frozenset[str] = frozenset()
