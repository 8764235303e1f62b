"""What both ends of a migration have agreed on, and what of a call's arguments is within that. Rules only: no socket, no clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from uuid import UUID
from xml.etree.ElementTree import Element

from attrs import frozen

from nbdtun.errors import NotAllowed, NotMigratable, printable
from nbdtun.libvirt.rpc.arguments import Migrating, Opening, Value
from nbdtun.libvirt.rpc.markup import parse
from nbdtun.libvirt.rpc.places import places_of, words

#: Flags of a migration that the destination may be told (include/libvirt/libvirt-domain.h): LIVE, PEER2PEER, PERSIST_DEST,
#: UNDEFINE_SOURCE, PAUSED, NON_SHARED_DISK, NON_SHARED_INC, CHANGE_PROTECTION, UNSAFE, COMPRESSED, ABORT_ON_ERROR, AUTO_CONVERGE,
#: POSTCOPY, TLS, PARALLEL, NON_SHARED_SYNCHRONOUS_WRITES, ZEROCOPY. Not TUNNELLED, OFFLINE, RDMA_PIN_ALL, POSTCOPY_RESUME.
FLAGS: Final = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15, 16, 17, 18, 20))
#: NON_SHARED_DISK and NON_SHARED_INC: without ``disks_uri`` the destination's QEMU would then listen on a TCP port for the disks.
COPIES: Final = 1 << 6 | 1 << 7

#: Flags with which libvirt's client opens an ordinary user's driver, and sends along: OPEN_USER and OPEN_AUTOSTART of its
#: src/remote/remote_sockets.h. They are about its own end; a daemon would read the first as VIR_CONNECT_NO_ALIASES.
OWN_USER: Final = 1 << 1 | 1 << 2

#: Parameters that only change how the data goes. Missing on purpose: ``listen_address``, ``disks_port``, ``graphics_uri``.
HARMLESS: Final = words(
    "bandwidth bandwidth.postcopy bandwidth.avail.switchover migrate_disks migrate_disks_detect_zeroes compression compression.mt.level "
    "compression.mt.threads compression.mt.dthreads compression.xbzrle.cache compression.zlib.level compression.zstd.level "
    "auto_converge.initial auto_converge.increment parallel.connections tls.destination"
)


@frozen
class Grant:
    """
    What one tunnelled connection to the destination's libvirtd may be used for.

    ``places`` has all that the domain may name of this host, as :func:`nbdtun.libvirt.rpc.places.places` writes it: those of the running
    domain's XML and of the persistent one's. Each ``check`` raises :class:`~nbdtun.errors.NotAllowed` or
    :class:`~nbdtun.errors.NotMigratable`.
    """

    name: str
    uuid: UUID
    #: The driver that the connection opens: ``qemu:///system`` or ``qemu:///session``.
    uri: str
    #: The URI of the socket for the memory, as libvirt is given it: ``unix:///run/nbdtun/libvirt/ID/memory.sock``.
    memory: str
    #: That of the socket for the disks; empty if none is copied.
    disks: str = ""
    places: frozenset[str] = frozenset()

    def check_opening(self, call: Opening) -> None:
        """Check the arguments of CONNECT_OPEN."""
        if call.name != self.uri or call.flags & ~(OWN_USER if self.uri.endswith("/session") else 0):
            raise NotAllowed(
                f"this connection is for {self.uri} only, and not for {_shown(call.name or 'none')} with flags {call.flags:#x}"
            )

    def check_prepare(self, call: Migrating) -> None:
        """Check the arguments of DOMAIN_MIGRATE_PREPARE3_PARAMS."""
        self._check(call)
        given = dict(call.parameters)
        missing = {"destination_xml", "migrate_uri", *(("disks_uri",) if call.flags & COPIES else ())} - given.keys()
        if missing:
            raise NotAllowed(f"the migration does not say its {min(missing)}, so that libvirt would choose one of its own")

    def check_finish(self, call: Migrating) -> None:
        """Check the arguments of DOMAIN_MIGRATE_FINISH3_PARAMS."""
        self._check(call)
        if "destination_name" not in dict(call.parameters):
            raise NotAllowed("the migration's end does not say of which domain")

    def _check(self, call: Migrating) -> None:
        if extra := call.flags & ~FLAGS:
            raise NotAllowed(f"flags {extra:#x} of a migration do not go through the tunnel")
        seen: set[str] = set()
        for field, value in call.parameters:
            if field in seen and not field.startswith(("migrate_disks", "compression")):
                raise NotAllowed(f"the migration has two of its {_shown(field)}")
            seen.add(field)
            self._check_parameter(field, value)
        if call.cookie:
            self._check_cookie(parse(call.cookie))

    def _check_parameter(self, field: str, value: Value) -> None:
        agreed = {"migrate_uri": self.memory, "disks_uri": self.disks, "destination_name": self.name}
        if field == "destination_xml":
            if not isinstance(value, str):
                raise NotAllowed("the domain's XML is not a text")
            self._check_domain(parse(value))
        elif field in agreed:
            if not value or value != agreed[field]:
                raise NotAllowed(f"the migration's {field} is {_shown(value)}, where {_shown(agreed[field]) or 'none'} was agreed on")
        elif field not in HARMLESS:
            raise NotAllowed(f"the migration's {_shown(field)} does not go through the tunnel")

    def _check_cookie(self, cookie: Element) -> None:
        """libvirt tells itself in it what the new domain persists as, among other things."""
        if cookie.tag != "qemu-migration" or any("}" in name for each in cookie for name in (each.tag, *each.attrib)):
            raise NotMigratable("the migration's cookie is not one of QEMU's driver")
        self._check_identity(cookie)
        for domain in cookie.iter("domain"):
            self._check_domain(domain)

    def _check_domain(self, domain: Element) -> None:
        extra = places_of(domain) - self.places
        self._check_identity(domain)
        if extra:
            raise NotAllowed(f"the domain's XML names {_shown(min(extra))}, which was not agreed on")

    def _check_identity(self, element: Element) -> None:
        """Each must be there once: where there are two, libvirt takes the first."""
        for field, agreed in (("name", self.name), ("uuid", f"{self.uuid}")):
            found = list(_texts(element, field))
            if [text.lower() if field == "uuid" else text for text in found] != [agreed]:
                said = _shown(found[0]) if found else "missing"
                raise NotAllowed(f"the domain's {field} is {said}, where {agreed} was agreed on")


def _texts(element: Element, name: str) -> Iterator[str]:
    return ("".join(child.itertext()) for child in element.findall(name))


def _shown(value: Value) -> str:
    return printable(f"{value}", 200)
