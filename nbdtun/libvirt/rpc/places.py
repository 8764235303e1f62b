"""
What of its host a domain's XML names: files, devices, networks, addresses, secrets, labels. Rules only: no socket, no clock.

A place is a text: an absolute path as it is, anything else with its kind before it. Names are taken without regard to what libvirt would do
with them, so there may be more than it uses. What is agreed on and what arrives are read by the same rule, so a name too many is in both.
The elements are those of libvirt 11.3 (src/conf/schemas/domaincommon.rng).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final
from xml.etree.ElementTree import Element

from nbdtun.errors import NotMigratable
from nbdtun.libvirt.rpc.markup import parse


def words(text: str) -> frozenset[str]:
    """Return the words of ``text``."""
    return frozenset(text.split())


#: Elements of a domain. Those for other hypervisors are missing, and all in a namespace (``qemu:commandline``, ``qemu:override``...).
DOMAIN: Final = words(
    "name uuid genid title description metadata hwuuid memory currentMemory maxMemory memoryBacking memtune blkiotune vcpu vcpus iothreads "
    "iothreadids defaultiothread cputune numatune resource cpu sysinfo os features clock on_poweroff on_reboot on_crash on_lockfailure pm "
    "perf devices seclabel keywrap launchSecurity throttlegroups"
)
#: Devices of a domain. ``hostdev`` is missing.
DEVICES: Final = words(
    "emulator disk controller lease filesystem interface input sound audio graphics video console parallel serial channel smartcard hub "
    "redirdev redirfilter rng tpm shmem memory crypto watchdog memballoon nvram panic iommu vsock pstore"
)
#: Texts that nobody but the guest's owner reads, at their place in the domain.
FREE: Final = frozenset(("name", "uuid", "title", "description", "metadata"))

#: Attributes that name something of the host in whatever form. In any other attribute only a slash makes a path of a value.
ATTRIBUTES: Final = words(
    "file dir path socket evdev template keyfile agentsock logFile runtimeDir rendernode tap vhost pool volume secret"
)
#: Elements whose text does.
TEXTS: Final = words("emulator loader nvram kernel initrd dtb table path database certificate lockspace key backend")
#: Names that libvirt makes up at each host for the host's end of a network device.
TAPS: Final = re.compile(r"(vnet|macvtap|macvlan)\d+")
#: Uses that leave a file as it is: libvirt and QEMU only read it or run it, and its owner stays.
READ: Final = re.compile(
    r"use:(devices/emulator|os/loader(\(type=rom\)|\([^)]*readonly=yes\))?|os/nvram[^/]*@template|devices/filesystem[^/]*/binary@path|"
    r"devices/[^/]*/rom@file|devices/rng/backend|devices/interface[^/]*/backend[^/]*@(tap|vhost)):(?P<path>/.*)"
)
#: What no quality of libvirt's has in it, so that none looks like a use.
QUALITY: Final = re.compile(r"[^\w.+-]")
#: A pseudo-terminal, which every running guest has others of.
TERMINAL: Final = re.compile(r"/dev/pts/\d+")


def places(xml: str) -> frozenset[str]:
    """
    Return all places that the XML of a ``<domain>`` names.

    Examples: ``/srv/web1.qcow2``, ``format:qcow2:/srv/web1.qcow2``, ``interface:network:default``, ``pool:default``, ``volume:web1``,
    ``address:10.0.0.1:5555``, ``seclabel:dac:static:+0:+0``. A file is there once more with its use, for example
    ``use:devices/disk(type=file,device=disk)/source@file:/srv/web1.qcow2``: to write a log to the emulator is not what was agreed on.

    :raise NotMigratable: it has what no migration may bring along (host devices, QEMU's own arguments), or is not such XML.
    """
    return places_of(parse(xml))


def read_only(xml: str) -> frozenset[str]:
    """
    Return those of the paths that libvirt and QEMU only read or run: an emulator, read-only firmware, the template of an NVRAM, a file
    system's helper, a ROM, a source of randomness. Any other may be created, written, or given to QEMU's user.

    :raise NotMigratable: as :func:`places` has it.
    """
    uses = {place for place in places(xml) if place.startswith("use:")}
    left = {match["path"] for use in uses if (match := READ.fullmatch(use))}
    return frozenset(path for path in left if all(READ.fullmatch(use) for use in uses if use.endswith(f":{path}")))


def places_of(domain: Element) -> frozenset[str]:
    """
    Return the same of the element ``domain``.

    :raise NotMigratable: as :func:`places` has it.
    """
    if domain.tag != "domain" or domain.get("type") not in ("kvm", "qemu"):
        raise NotMigratable("libvirt's XML is not that of a domain of QEMU's")
    _check_known(domain)
    return frozenset(place for child in domain if child.tag not in FREE for place in _within(child, domain))


def _check_known(domain: Element) -> None:
    for child in domain:
        if child.tag not in DOMAIN:
            raise _foreign(child)
        for device in child if child.tag == "devices" else ():
            if device.tag == "hostdev":
                raise _host_device(device)
            if device.tag not in DEVICES:
                raise _foreign(device)


def _foreign(element: Element) -> NotMigratable:
    tag = element.tag.rpartition("}")[2]
    return NotMigratable(f"the domain's XML has <{tag}>, which nbdtun does not let through", "remove it from the domain")


def _host_device(element: Element) -> NotMigratable:
    return NotMigratable(f"the domain's XML has <{element.tag}>, a device of its host", "detach it before the migration")


def _within(element: Element, parent: Element, role: str = "") -> Iterator[str]:
    """What an element, and all in it, names; ``role`` says where the parent stands."""
    if any("}" in name for name in (element.tag, *element.attrib)):
        raise _foreign(element)
    if element.tag == "hostdev" or (element.tag != "controller" and element.get("type") in ("hostdev", "nvme")):
        raise _host_device(element)
    role = f"{role}/{element.tag}{_qualities(element)}".removeprefix("/")
    for kind, value in (*_attributes(element, parent), *_text(element, parent)):
        yield value if value.startswith("/") else f"{kind.rpartition('@')[2]}:{value}"
        yield f"use:{role}{kind if kind[0] == '@' else ''}:{value}"
    for judge in _JUDGES.get(element.tag, ()):
        yield from judge(element, parent)
    for child in element:
        yield from _within(child, element, role)


def _qualities(element: Element) -> str:
    """What decides whether a file is only read, or who connects to a socket."""
    said = [f"{name}={QUALITY.sub('?', element.get(name, ''))}" for name in ("type", "device", "readonly", "mode") if element.get(name)]
    said += ["read-only" for child in element if child.tag == "readonly"]
    return f"({','.join(said)})" if said else ""


def _attributes(element: Element, parent: Element) -> Iterator[tuple[str, str]]:
    for name, value in element.attrib.items():
        if value and (name in ATTRIBUTES or "/" in value) and not (TERMINAL.fullmatch(value) and _is_afresh(element, parent, name)):
            yield f"@{name}", value


def _is_afresh(element: Element, parent: Element, name: str) -> bool:
    """Whether it is the pseudo-terminal of a running guest, which libvirt does not read where it starts one (domain_conf.c)."""
    return name == "tty" or (name == "path" and element.tag == "source" and parent.get("type") == "pty")


def _text(element: Element, parent: Element) -> Iterator[tuple[str, str]]:
    """A kernel's arguments and the strings of SMBIOS are read by the guest, and a partition is one of control groups."""
    text = (element.text or "").strip()
    if text and (element.tag in TEXTS or "/" in text) and element.tag not in ("cmdline", "entry") and parent.tag != "resource":
        yield element.tag, text


def _place(kind: str, value: str) -> str:
    return value if value.startswith("/") else f"{kind}:{value}"


def _image(element: Element, _: Element) -> Iterator[str]:
    """The format that an image is read with: of a raw one, a guest could have made a qcow2 with any file of the host's behind it."""
    formats = [child.get("type", "raw") for child in element if child.tag in ("driver", "format")] or ["raw"]
    for source in element.findall("source"):
        names = [source.get(name, "") for name in ("file", "dev", "dir", "name", "volume", "path")]
        yield from (f"format:{each}:{name}" for each in formats for name in names if name)


def _raw_commands(element: Element, _: Element) -> Iterator[str]:
    """Commands that go to the host's hardware as they are."""
    yield from (
        f"{name}:{element.get(name)}"
        for name, harmless in (("rawio", "no"), ("sgio", "filtered"))
        if element.get(name, harmless) != harmless
    )


def _source(element: Element, parent: Element) -> Iterator[str]:
    """Of a device that is no interface: a block device, an image that another host has."""
    if parent.tag != "interface":
        yield from (_place(parent.tag, element.get(name, "")) for name in ("dev", "name") if element.get(name))
        if protocol := element.get("protocol"):
            yield f"protocol:{protocol}:{element.get('name', '')}"


def _address(element: Element, _: Element) -> Iterator[str]:
    """Of another host, or of a port of this one."""
    words = [
        next((element.get(name, "") for name in names if element.get(name)), "") for names in (_HOSTS[element.tag], ("service", "port"))
    ]
    if any(words):
        yield f"address:{':'.join(words)}"


_HOSTS: Final = {"source": ("host", "address"), "local": ("address",), "host": ("name",)}


def _interface(element: Element, _: Element) -> Iterator[str]:
    """
    Which network of the host the guest is plugged into, and how it is kept within.

    Of a libvirt network, a running guest's XML also has the bridge, which says nothing.
    """
    kind = element.get("type", "")
    attribute = {"network": "network", "bridge": "bridge", "internal": "name"}.get(kind, "dev")
    for source in element.findall("source") or [Element("source")]:
        yield ":".join(("interface", kind, source.get(attribute, ""), *_bounds(element, source)))
    yield from (f"portForward:{forward.get('dev', '')}:{forward.get('address', '')}" for forward in element.iter("portForward"))
    for target in element.findall("target"):
        if target.get("dev") and (target.get("managed") == "no" or not TAPS.fullmatch(target.get("dev", ""))):
            yield f"tap:{target.get('dev')}"


def _bounds(element: Element, source: Element) -> Iterator[str]:
    if source.get("portgroup"):
        yield f"portgroup={source.get('portgroup')}"
    if element.get("trustGuestRxFilters") == "yes":
        yield "trusted"
    for tag, name, word in (("tag", "id", "vlan"), ("filterref", "filter", "filter"), ("port", "isolated", "isolated")):
        yield from (f"{word}={each.get(name)}" for each in element.iter(tag) if each.get(name))


def _label(element: Element, _: Element) -> Iterator[str]:
    """A label of the domain's own choice, root's user for example, or none at all. One that libvirt chooses names nothing."""
    kind = element.get("type", "")
    chosen = [child.text or "" for child in element if child.tag == "baselabel" or (child.tag == "label" and kind != "dynamic")]
    if chosen or kind not in ("", "dynamic"):
        yield ":".join(("seclabel", element.get("model", ""), kind, *chosen))


def _named(element: Element, _: Element) -> Iterator[str]:
    """What has a name of the whole host: a secret, memory that is shared, a sound device."""
    yield from (f"{element.tag}:{element.get(name)}" for name in ("uuid", "usage", "name", "dev", "serverName") if element.get(name))


def _smartcard(element: Element, _: Element) -> Iterator[str]:
    if element.get("mode") != "passthrough":
        yield f"smartcard:{element.get('mode', '')}"


def _audio(element: Element, parent: Element) -> Iterator[str]:
    for child in element.iter():
        yield from _named(child, parent)


_JUDGES: Final[dict[str, tuple[Callable[[Element, Element], Iterator[str]], ...]]] = {
    "disk": (_image, _raw_commands),
    **dict.fromkeys(("backingStore", "mirror", "dataStore"), (_image,)),
    "source": (_source, _address),
    **dict.fromkeys(("host", "local"), (_address,)),
    "interface": (_interface,),
    "seclabel": (_label,),
    "smartcard": (_smartcard,),
    "audio": (_audio,),
    **dict.fromkeys(("secret", "shmem"), (_named,)),
}
