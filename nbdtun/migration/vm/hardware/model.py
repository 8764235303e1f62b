"""
A machine as its guest sees it, as frozen values.

A device is identified by its ``key``: the addresses of all buses from the board to it, as QEMU's own stream names it and as the guest
finds it. QEMU's own numbers (``device[17]``) are not part of it, since they differ between releases. A device without an address on its bus
is counted instead; such a part of a key has a ``~``, and proves little.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from nbdtun.migration.vm.machine import Machine

Scalar = bool | int | str
COUNTED = "~"


def _no_facts() -> Mapping[str, Scalar]:
    return {}


@frozen
class Device:
    """
    One device. ``kind`` is QEMU's type, ``ident`` the operator's id for it (or for the device that it is a part of), empty for none.

    ``facts`` are the properties that a guest can see, or that the loading of QEMU's stream depends on. ``path`` is its path in this QEMU.
    """

    key: str
    kind: str
    ident: str = ""
    facts: Mapping[str, Scalar] = field(factory=_no_facts)
    path: str = field(default="", eq=False)

    @property
    def place(self) -> str:
        """The key without the board's own part: ``pci:05.0/scsi:0:3:0``."""
        parts = [part for part in self.key.split("/")[1:] if part != "virtio"]
        while len(parts) > 1 and COUNTED in parts[0]:
            del parts[0]
        return "/".join(parts)

    @property
    def name(self) -> str:
        """An operator's name for it, which ``--allow-mismatch`` takes."""
        return self.ident or self.place

    @property
    def counted(self) -> bool:
        """Whether its place is only its counted position, which the guest does not see."""
        return COUNTED in self.place

    def __str__(self) -> str:
        kind = self.kind.removesuffix("-device")
        return f"{self.ident} ({kind} at {self.place})" if self.ident else f"{kind} at {self.place}"


@frozen
class Block:
    """A block of RAM or ROM, with its size in bytes, and the size up to which it can be made larger."""

    name: str
    used: int
    total: int

    @property
    def resizable(self) -> bool:
        """Whether QEMU accepts another size than its own. Blocks of firmware tables always have room for more."""
        return self.total > self.used or self.name.startswith("/rom@")


@frozen
class Hardware:
    """
    A whole machine. Values that this QEMU did not report are empty, and not compared.

    ``settings`` are the machine's own properties, ``cpu`` those of its first processor; ``processors`` are the places for processors, each
    marked if it is empty; ``usb`` are the ports in use; ``keepers`` are types of TPM backends.
    """

    machine: Machine
    version: str = ""
    accelerator: str = ""
    settings: Mapping[str, Scalar] = field(factory=_no_facts)
    cpu: Mapping[str, Scalar] = field(factory=_no_facts)
    processors: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    blocks: tuple[Block, ...] = ()
    usb: tuple[str, ...] = ()
    keepers: tuple[str, ...] = ()

    def at(self, qdev: str) -> Device | None:
        """The device that ``query-block`` calls ``qdev``: an id, or a path."""
        path = qdev if qdev.startswith("/") else f"/machine/peripheral/{qdev}"
        return next((device for device in self.devices if device.path == path), None)

    def changes(self, now: Hardware) -> list[str]:
        """The names of hardware that was added to, removed from or changed in the same QEMU."""
        before, after = ({device.key: device for device in each.devices} for each in (self, now))
        moved = [(before.get(key) or after[key]).name for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
        blocks = {block.name for block in self.blocks} ^ {block.name for block in now.blocks}
        return sorted({*moved, *blocks, *(["cpu"] if self.processors != now.processors else [])})
