"""
The devices of two machines, compared by their places: see :class:`~nbdtun.migration.vm.hardware.model.Device`. Rules without I/O.

QEMU facts: a section of the stream is named after its device's place (``0000:00:05.0/virtio-blk``), and loads into the device there. If
there is none, loading fails after everything was copied: ``Unknown savevm section or instance``. Ids are not part of the name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from nbdtun.migration.catalogue import (
    DEVICE,
    DEVICE_FACT,
    DEVICE_LESS,
    DEVICE_MORE,
    DEVICE_TOLD,
    DEVICES_EXCHANGED,
    USB_PORTS,
)
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.vm.hardware.facts import TOLD, is_virtio
from nbdtun.migration.vm.hardware.model import COUNTED, Device, Hardware, Scalar
from nbdtun.units import listed


def compare_devices(there: Hardware, here: Hardware) -> tuple[list[Finding], list[Device]]:
    """The differences, and the devices at the source that have no counterpart."""
    theirs, mine = ({device.key: device for device in each.devices} for each in (there, here))
    if not theirs or not mine:
        return [], []
    missing = _tops({key: device for key, device in theirs.items() if not _same_kind(device, mine.get(key))}, theirs)
    surplus = _tops({key: device for key, device in mine.items() if key not in theirs}, mine)
    facts = there.machine.kind == here.machine.kind  # else they follow from that
    findings = [
        *(_missing(device, mine, surplus) for device in missing),
        *(DEVICE_MORE(f"{device} exists only at the destination", name=device.name) for device in _unmoved(surplus, missing)),
        *_exchanged(theirs, mine),
        *(each for key in theirs.keys() & mine.keys() if facts for each in _facts(theirs[key], mine[key])),
        *(_ports(there, here) if not missing else ()),
    ]
    return sorted(findings, key=lambda finding: (finding.level is not Level.FAILURE, finding.name, finding.what)), missing


def _same_kind(one: Device, other: Device | None) -> bool:
    return other is not None and _plain(one) == _plain(other)


def _plain(device: Device) -> str:
    """A part of the board is the same, whether KVM or QEMU implements it."""
    return device.kind.removeprefix("kvm-").removeprefix("isa-")


def _tops(chosen: Mapping[str, Device], every: Mapping[str, Device]) -> list[Device]:
    """The chosen devices that are not behind another chosen one: a missing bridge is reported, and not all that is behind it."""
    return [device for key, device in sorted(chosen.items()) if not any(above in chosen for above in _above(key) if above in every)]


def _above(key: str) -> Iterator[str]:
    while "/" in key:
        key = key.rpartition("/")[0]
        yield key


def _missing(device: Device, mine: Mapping[str, Device], surplus: list[Device]) -> Finding:
    instead = mine.get(device.key)
    if instead is not None:
        what = f"{device} is {instead.kind} at the destination"
    elif moved := next((other for other in (*_named(device, mine), *surplus) if _moved(device, other)), None):
        what = f"{device} is at {moved.place} at the destination"
    else:
        what = f"{device} is missing at the destination"
    return DEVICE(what, name=device.name)


def _named(device: Device, mine: Mapping[str, Device]) -> list[Device]:
    return [other for other in mine.values() if device.ident and other.ident == device.ident]


def _exchanged(theirs: Mapping[str, Device], mine: Mapping[str, Device]) -> Iterator[Finding]:
    """Devices whose ids are swapped: the guest sees no difference, but another network or disk would be behind the device."""
    idents = {device.ident: device for device in theirs.values() if device.ident and not device.key.endswith("/virtio")}
    for key, device in theirs.items():
        other = mine.get(key)
        if other is None or device.key.endswith("/virtio") or not _same_kind(device, other):
            continue
        meant = idents.get(other.ident)
        if device.ident and meant is not None and device.ident not in (other.ident, meant.ident) and meant.kind == device.kind:
            yield DEVICES_EXCHANGED(f"{device} is {other.ident} at the destination", name=device.name)


def _moved(device: Device, other: Device) -> bool:
    return device.kind == other.kind and device.ident == other.ident and COUNTED not in other.place


def _unmoved(surplus: list[Device], missing: list[Device]) -> list[Device]:
    """The devices that are only at the destination, without those reported as moved."""
    return [device for device in surplus if not any(_moved(other, device) for other in missing)]


def _facts(theirs: Device, mine: Device) -> Iterator[Finding]:
    if not _same_kind(theirs, mine):
        return
    both = sorted(theirs.facts.keys() & mine.facts.keys())
    features = is_virtio(theirs.kind)
    plain = [name for name in both if theirs.facts[name] != mine.facts[name] and not (features and type(theirs.facts[name]) is bool)]
    for name in plain:
        what = f"{theirs} has {name}={_shown(theirs.facts[name])} at the source and {_shown(mine.facts[name])} at the destination"
        yield DEVICE_TOLD(what, name=theirs.name) if name in TOLD else DEVICE_FACT(what, name=theirs.name)
    if features:
        differ = [name for name in both if type(theirs.facts[name]) is bool and theirs.facts[name] != mine.facts[name]]
        yield from _features(theirs, [name for name in differ if theirs.facts[name]], [name for name in differ if mine.facts[name]])


def _shown(value: Scalar) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value).removeprefix("/objects/") or "none"


def _features(device: Device, less: list[str], more: list[str]) -> Iterator[Finding]:
    if less:
        remedy = f"add to that device: {','.join(f'{name}=on' for name in less[:6])}"
        yield DEVICE_LESS(f"{device} lacks {listed(less, 16)} at the destination", remedy, name=device.name)
    if more:
        yield DEVICE_MORE(f"{device} has {listed(more, 16)} only at the destination", name=device.name)


def _ports(there: Hardware, here: Hardware) -> Iterator[Finding]:
    """USB ports that QEMU has chosen: the first free one, which may differ after an unplug."""
    theirs, mine = Counter(there.usb), Counter(here.usb)
    if gone := sorted((theirs - mine).elements()):
        what = f"{listed(gone, 16)} at the source; at the destination {listed(sorted((mine - theirs).elements()), 16) or 'nothing'}"
        yield USB_PORTS(what, name="usb")
