"""
Reads a domain's XML, and rewrites it for another host. Rules only: text in, values and text out.

libvirt's rules (https://libvirt.org/formatdomain.html, and 9.0's qemu_migration.c): ``VIR_MIGRATE_NON_SHARED_DISK`` copies disks with a
source that are neither read-only nor shared. A disk without ``device`` is of type ``disk``; a CD-ROM is read-only whatever its XML says.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator
from typing import Final
from xml.parsers import expat

from attrs import frozen

from nbdtun.errors import NotMigratable
from nbdtun.spawn.rewrite.answers import Answers, Mapped

#: Kinds of disks whose data are at one host only; the others are reached over the network, from both.
LOCAL: Final = frozenset({"file", "block", "volume"})

#: Parts of a domain that are its owner's own, and name nothing of a host.
_OWN: Final = frozenset({"metadata", "title", "description", "name"})

#: Elements that refer to a network or a pool, each with its attribute.
_NAMES: Final = frozenset({("interface", "bridge"), ("interface", "network"), ("interface", "dev"), ("disk", "pool")})


@frozen
class Disk:
    """
    One disk: ``target`` is its name in the domain (``vda``), ``kind`` libvirt's type (``file``, ``block``, ``volume``, ``network``...).

    ``path`` is empty for a volume, which has its ``pool`` and ``volume``, and for an empty drive. ``format`` is the driver's type.
    ``backing`` are the paths of its backing files, the nearest first, as far as the XML has them.
    ``stays``: libvirt does not copy it, as it is shared or empty, or reached over the network, or ``read_only``: nobody writes to it.
    """

    target: str
    kind: str = "file"
    path: str = ""
    format: str = "raw"
    pool: str = ""
    volume: str = ""
    stays: bool = False
    read_only: bool = False
    backing: tuple[str, ...] = ()


@frozen
class Domain:
    """A domain: its ``name``, its ``uuid``, its ``disks``, its ``nvram`` (a path, or empty), and the ``owner`` of its QEMU: uid and gid."""

    name: str
    uuid: str
    disks: tuple[Disk, ...] = ()
    nvram: str = ""
    owner: tuple[int, int] | None = None

    @property
    def copied(self) -> tuple[Disk, ...]:
        """The disks that a migration copies."""
        return tuple(disk for disk in self.disks if not disk.stays)


def read(xml: str) -> Domain:
    """
    Read a domain's XML.

    :raise NotMigratable: it is none.
    """
    root = _parse(xml)
    return Domain(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", "").lower(),
        disks=tuple(map(_disk, root.iterfind("devices/disk"))),
        nvram=_nvram(root.find("os/nvram")),
        owner=_owner(root),
    )


def rewrite(xml: str, answers: Answers) -> str:
    """
    Return the XML as it is to be where ``answers`` map its paths, and its networks, bridges and pools.

    XML that no map changes is returned as it is.

    :raise NotMigratable: it is no domain's XML.
    """
    root = _parse(xml)
    names = {one.here: one.there for one in answers.maps if not _is_path(one)}
    changed = [_map(parents, element, answers, names) for parents, element in _elements(root)]
    return ET.tostring(root, encoding="unicode") if any(changed) else xml


def flattened(xml: str, targets: Iterable[str]) -> str:
    """
    Return the XML without the backing files of the disks with these ``targets``: a copy is whole, and libvirt would look for them there.

    XML without any is returned as it is.

    :raise NotMigratable: it is no domain's XML.
    """
    root, wanted = _parse(xml), set(targets)
    chains = [
        (disk, [each for each in disk.findall("backingStore") if each.find("source") is not None])
        for disk in root.iterfind("devices/disk")
        if (target := disk.find("target")) is not None and target.get("dev") in wanted
    ]
    for disk, found in chains:
        for each in found:
            disk.remove(each)
    return ET.tostring(root, encoding="unicode") if any(found for _, found in chains) else xml


def unused(xml: str, answers: Answers) -> tuple[str, ...]:
    """The maps that change nothing in the XML: a mistyped name would be one."""
    return tuple(f"{one.here}={one.there}" for one in answers.maps if rewrite(xml, Answers(maps=(one,))) == xml)


def _is_path(one: Mapped) -> bool:
    return one.here.startswith("/")


def _parse(xml: str) -> ET.Element:
    try:
        root = _as_written(xml)
    except expat.ExpatError as error:
        raise NotMigratable(f"the domain's XML cannot be read: {error}") from None
    if root.tag != "domain" or not root.findtext("name") or not root.findtext("uuid"):
        raise NotMigratable("the XML is not that of a domain with a name and a UUID", "`virsh dumpxml --migratable` prints it")
    return root


def _as_written(xml: str) -> ET.Element:
    """The root, all of whose names have the prefixes of their namespaces: metadata are to arrive as their owner wrote them."""
    builder, parser = ET.TreeBuilder(), expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = builder.start, builder.end, builder.data
    parser.Parse(xml, True)
    return builder.close()


def _disk(element: ET.Element) -> Disk:
    source, driver, target = element.find("source"), element.find("driver"), element.find("target")
    told = {} if source is None else dict(source.attrib)
    kind = element.get("type", "file")
    read_only = element.find("readonly") is not None or element.get("device") in ("cdrom", "floppy")
    shared = element.find("shareable") is not None
    return Disk(
        target="" if target is None else target.get("dev", ""),
        kind=kind,
        path=_path(source),
        format="raw" if driver is None else driver.get("type", "raw"),
        pool=told.get("pool", ""),
        volume=told.get("volume", ""),
        stays=read_only or shared or not told or kind not in LOCAL,
        read_only=read_only,
        backing=tuple(path for each in element.iter("backingStore") for path in [_path(each.find("source"))] if path),
    )


def _path(source: ET.Element | None) -> str:
    return "" if source is None else source.get("file") or source.get("dev") or ""


def _nvram(element: ET.Element | None) -> str:
    """Its path: the element's text, or since libvirt 8.5 its source's file."""
    if element is None:
        return ""
    source = element.find("source")
    return (element.text or "").strip() if source is None else source.get("file", "")


def _owner(root: ET.Element) -> tuple[int, int] | None:
    """QEMU's user, which a live domain's XML has as the label of its discretionary access control: ``+64055:+64055``."""
    for label in root.iterfind("seclabel"):
        uid, _, gid = label.findtext("label", "").partition(":")
        if label.get("model") == "dac" and uid.lstrip("+").isdecimal() and gid.lstrip("+").isdecimal():
            return int(uid), int(gid)
    return None


def _elements(root: ET.Element) -> Iterator[tuple[tuple[str, ...], ET.Element]]:
    """All elements that may name something of a host, each with the tags of those around it."""

    def walk(parents: tuple[str, ...], element: ET.Element) -> Iterator[tuple[tuple[str, ...], ET.Element]]:
        if parents and element.tag in _OWN:
            return
        yield parents, element
        for child in element:
            yield from walk((*parents, element.tag), child)

    yield from walk((), root)


def _map(parents: Iterable[str], element: ET.Element, answers: Answers, names: dict[str, str]) -> bool:
    """Map what the element names; returns whether that has changed it."""
    changed = False
    text = (element.text or "").strip()
    if text.startswith("/") and answers.far(text) != text:
        element.text, changed = answers.far(text), True
    for key, value in element.attrib.items():
        new = answers.far(value) if value.startswith("/") else value
        if element.tag == "source" and value in names and any((parent, key) in _NAMES for parent in parents):
            new = names[value]
        if new != value:
            element.set(key, new)
            changed = True
    return changed


def host_uuid(capabilities: str) -> str:
    """The UUID of a host, as the XML of libvirt's capabilities has it; libvirt refuses a migration to the same one."""
    try:
        return ET.fromstring(capabilities).findtext("host/uuid", "")
    except ET.ParseError:
        return ""
