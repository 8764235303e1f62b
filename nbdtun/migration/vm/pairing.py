"""
Which disk of the destination takes which disk of the source, by what the guest sees. Rules without I/O.

The guest finds a disk by its place on its buses, and identifies it by its serial; the operator identifies it by the device's id. Where
these disagree, two pairings are possible, and neither is taken: the wrong one would swap the disks' contents, and succeed.
Names that QEMU counts by itself prove nothing: the order of devices, ``device[0]``, drives called ``ide0-hd0``, serials like ``QM00001``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from nbdtun.errors import DiskMismatch
from nbdtun.migration.vm.disks import Disk, Inventory
from nbdtun.migration.vm.machine import sizes

_MADE_UP_SERIAL = re.compile(r"QM\d{5}\Z")
_MADE_UP_DRIVE = re.compile(r"(ide|scsi|virtio|floppy|sd|mtd|pflash|xen|none)\d+(-(hd|cd)\d+)?\Z")
_REMEDY = "give the devices at both ends the same addresses and the same ids"


class Matches:
    """The disks ``here``, each of which can take one of the source's ``disks``."""

    def __init__(self, here: Inventory, disks: tuple[Disk, ...]) -> None:
        self._here = here
        self._disks = disks
        self._taken: dict[str, Disk] = {}

    def __repr__(self) -> str:
        return f"<Matches for {', '.join(disk.nickname for disk in self._taken.values()) or 'none'}>"

    def find(self, wanted: Disk) -> Disk:
        """
        The disk here that is to take ``wanted``.

        :raise DiskMismatch: no disk matches, several match, it is too small, it is the same image, or it is already taken.
        """
        here = self._counterpart(wanted)
        if here.size < wanted.size:
            there, small = sizes(wanted.size, here.size)
            what = f"disk {wanted.nickname}: {small} at the destination is too small for {there} at the source"
            raise DiskMismatch(what, f"stop that QEMU and run `qemu-img resize IMAGE {wanted.size}` there")
        if wanted.image and wanted.image == here.image:
            same = f"disk {wanted.nickname}: the destination's {here.nickname} is the same image, so the disk would be copied onto itself"
            raise DiskMismatch(same, "give the destination an image of its own; shared storage is not supported")
        if here.node in self._taken:
            both = f"disks {self._taken[here.node].nickname} and {wanted.nickname} both match {here.nickname} at the destination"
            raise DiskMismatch(both, "give the devices ids")
        self._taken[here.node] = wanted
        return here

    def _counterpart(self, wanted: Disk) -> Disk:
        evidence = _evidence(wanted, self._here.disks)
        found = {disk.node: disk for each in evidence for disk in each.disks}
        if not found:
            what = f"disk {wanted.nickname}: the destination has no writable disk {_sought(wanted)}; {_listed(self._here)}"
            raise DiskMismatch(what, "start the destination with the same disks")
        here = next(iter(found.values()))
        claims = [claim for claim in _evidence(here, self._disks) if any(disk.node != wanted.node for disk in claim.disks)]
        if len(found) > 1:
            both = _said(evidence)
        elif claims:
            both = f"{_said(evidence)}, but in reverse {_said(claims)} of the source"
        else:
            return here
        raise DiskMismatch(f"disk {wanted.nickname}: the match is ambiguous: {both}", _REMEDY)


@frozen
class _Evidence:
    """The ``disks`` here that match a disk of the source by ``what``."""

    what: str
    disks: tuple[Disk, ...]


def _said(evidence: list[_Evidence]) -> str:
    return "; ".join(f"by {each.what} it is {' or '.join(disk.nickname for disk in each.disks)}" for each in evidence)


def _evidence(disk: Disk, others: tuple[Disk, ...]) -> list[_Evidence]:
    """The evidence that links a disk at one end to disks at the other; the same in both directions."""
    strong = [each for each in _strong(disk, others) if each.disks]
    return strong or [each for each in _weak(disk, others) if each.disks][:1]


def _strong(wanted: Disk, here: tuple[Disk, ...]) -> Iterator[_Evidence]:
    if wanted.place and not wanted.counted:
        yield _Evidence("address", tuple(disk for disk in here if disk.place == wanted.place))
    if wanted.ident:
        yield _Evidence("device id", tuple(disk for disk in here if disk.ident == wanted.ident))
    if wanted.serial and not _MADE_UP_SERIAL.match(wanted.serial):
        yield _Evidence("serial", tuple(disk for disk in here if disk.serial == wanted.serial))


def _weak(wanted: Disk, here: tuple[Disk, ...]) -> Iterator[_Evidence]:
    """Without stronger evidence: the operator's name for the drive, then the position on its bus."""
    if wanted.device and not _MADE_UP_DRIVE.match(wanted.device):
        yield _Evidence("drive id", tuple(disk for disk in here if disk.device == wanted.device))
    if wanted.counted:
        yield _Evidence("position on its bus", tuple(disk for disk in here if disk.counted and disk.bus == wanted.bus))


def _sought(wanted: Disk) -> str:
    marks = [
        f"at address {wanted.place}" if wanted.place else "",
        f"with id {wanted.ident}" if wanted.ident else "",
        f"with drive id {wanted.device}" if wanted.device else "",
    ]
    return " or ".join(mark for mark in marks if mark) or f"on device {_device(wanted)}"


def _device(disk: Disk) -> str:
    """The id of its device, of which ``qdev`` may be the whole path in QEMU's object tree."""
    return next(
        (part for part in disk.qdev.split("/") if part not in ("", "machine", "peripheral", "peripheral-anon", "unattached")), disk.qdev
    )


def _listed(inventory: Inventory) -> str:
    there = [f"{disk.nickname} ({disk.ident or disk.place or _device(disk)})" for disk in inventory.disks]
    none = "no writable disk" if inventory.left_out else "no disks at all"
    return "; ".join([f"it has {', '.join(there) or none}", *map(str, inventory.left_out)])
