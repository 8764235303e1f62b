"""What a domain's XML needs of its host. Pure: text in, values out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from xml.etree.ElementTree import Element, tostring

from attrs import frozen

from nbdtun.errors import NotMigratable
from nbdtun.libvirt.rpc.markup import parse

#: Kinds of secrets by their use (virSecretUsageType in libvirt/libvirt-secret.h).
_USAGES: Final = {"volume": 1, "ceph": 2, "iscsi": 3, "tls": 4, "vtpm": 5}


@frozen
class Secret:
    """A secret of libvirt's, by its ``uuid``, or by its kind and id of ``usage``; ``where`` is what it is for."""

    where: str
    uuid: str = ""
    usage: tuple[int, str] | None = None


@frozen
class Needs:
    """
    What a domain needs: ``kind`` is libvirt's (``kvm``, ``qemu``), ``cpu`` the XML of its CPU, empty if it has none, ``mode`` that CPU's.

    ``networks`` are libvirt's; ``bridges`` and other ``links`` are interfaces of the host, ``switches`` bridges that are not Linux's own.
    ``nvram`` is made of ``template``, if that is known; ``automatic``: libvirt chooses the firmware. ``tpms`` are libvirt's kinds of TPMs.
    ``keys`` has the UUID of the secret of each disk with LUKS, by its target. ``files`` must be there; each has the place in the XML that
    it is for. ``owner`` is the user and group that the XML wants for its QEMU, None: libvirt's. Host devices are no need: no domain may
    have any.
    """

    name: str
    uuid: str
    kind: str
    arch: str
    machine: str
    emulator: str | None
    cpu: str
    mode: str
    networks: tuple[str, ...]
    bridges: tuple[str, ...]
    switches: tuple[str, ...]
    links: tuple[str, ...]
    loader: str
    nvram: str
    template: str
    automatic: bool
    tpms: tuple[str, ...]
    secrets: tuple[Secret, ...]
    keys: Mapping[str, str]
    files: tuple[tuple[str, str], ...]
    owner: tuple[int, int] | None


def read(xml: str, copied: frozenset[str] = frozenset()) -> Needs:
    """
    Read a domain's XML; the disks with a ``copied`` target need nothing of the host yet.

    :raise NotMigratable: it is none.
    """
    root = parse(xml)
    if root.tag != "domain":
        raise NotMigratable("libvirt's XML is not that of a domain")
    system, cpu = root.find("os/type"), root.find("cpu")
    nvram = root.find("os/nvram")
    return Needs(
        name=root.findtext("name", ""),
        uuid=root.findtext("uuid", "").lower(),
        kind=root.get("type", ""),
        arch="" if system is None else system.get("arch", ""),
        machine="" if system is None else system.get("machine", ""),
        emulator=root.findtext("devices/emulator"),
        cpu="" if cpu is None else tostring(cpu, "unicode"),
        mode="" if cpu is None else cpu.get("mode", "custom"),
        networks=_unique(_interfaces(root, "network", "network")),
        bridges=_unique(_interfaces(root, "bridge", "bridge", switch=False)),
        switches=_unique(_interfaces(root, "bridge", "bridge", switch=True)),
        links=_unique(_interfaces(root, "direct", "dev")),
        loader=(root.findtext("os/loader") or "").strip(),
        nvram=_path(nvram),
        template="" if nvram is None else nvram.get("template", ""),
        automatic=root.find("os[@firmware]") is not None,
        tpms=_unique(each.get("type", "") for each in root.iterfind("devices/tpm/backend")),
        secrets=tuple(_secrets(root)),
        keys=dict(_keys(root)),
        files=tuple(dict.fromkeys(_files(root, copied))),
        owner=_owner(root),
    )


def _unique(names: Iterator[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for name in names if name))


def _interfaces(root: Element, kind: str, attribute: str, switch: bool | None = None) -> Iterator[str]:
    for interface in root.iterfind("devices/interface"):
        source = interface.find("source")
        if interface.get("type") == kind and source is not None and switch in (None, interface.find("virtualport") is not None):
            yield source.get(attribute, "")


def _path(element: Element | None) -> str:
    """The path of an NVRAM: the element's text, or its source's file (since libvirt 8.5)."""
    if element is None:
        return ""
    source = element.find("source")
    return (element.text or "").strip() if source is None else source.get("file", "")


def _secrets(root: Element) -> Iterator[Secret]:
    for disk in root.iterfind("devices/disk"):
        target = disk.find("target")
        where = f"disk {'' if target is None else target.get('dev', '')}"
        for around in (*disk.iter("encryption"), *disk.iter("auth")):
            for each in around.iterfind("secret"):
                kind = _USAGES.get(each.get("type", ""), _USAGES["volume"])
                usage = each.get("usage")
                yield Secret(where, each.get("uuid", ""), (kind, usage) if usage else None)
    for each in root.iterfind("devices/tpm/backend/encryption"):
        yield Secret("the TPM", each.get("secret", ""))


def _keys(root: Element) -> Iterator[tuple[str, str]]:
    for disk in root.iterfind("devices/disk"):
        target, secret = disk.find("target"), disk.find("source/encryption[@format='luks']/secret")
        if secret is None:
            secret = disk.find("encryption[@format='luks']/secret")
        if target is not None and secret is not None and secret.get("uuid"):
            yield target.get("dev", ""), secret.get("uuid", "")


def _files(root: Element, copied: frozenset[str]) -> Iterator[tuple[str, str]]:
    for tag in ("kernel", "initrd", "dtb"):
        yield from ((path.strip(), tag) for path in [root.findtext(f"os/{tag}") or ""] if path.strip())
    for disk in root.iterfind("devices/disk"):
        target, source = disk.find("target"), disk.find("source")
        name = "" if target is None else target.get("dev", "")
        if source is not None and name not in copied and source.get("startupPolicy") != "optional":
            yield from ((path, f"disk {name}") for path in (source.get("file"), source.get("dev")) if path)


def _owner(root: Element) -> tuple[int, int] | None:
    for label in root.iterfind("seclabel"):
        user, _, group = label.findtext("label", "").replace("+", "").partition(":")
        if label.get("model") == "dac" and label.get("type") == "static" and user.isdecimal() and group.isdecimal():
            return int(user), int(group)
    return None
