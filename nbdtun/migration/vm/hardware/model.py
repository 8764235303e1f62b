"""
A machine as its guest sees it, as frozen values.

A device is known by its ``key``: the addresses of all buses from the board to it, as QEMU's own stream names it and as the guest finds it.
Numbers of QEMU's own (``device[17]``) are no part of that, for they differ between releases. What has no address on its bus is counted;
such a part of a key has a ``~``, and proves little.
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
    One device. ``kind`` is QEMU's type, ``ident`` the id that its operator gave it (or the device that it is a part of), empty for none.

    ``facts`` are the properties that a guest, or the loading of QEMU's stream, can tell apart. ``path`` is where this QEMU has it.
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
        """What an operator would call it, and what ``--allow-mismatch`` takes."""
        return self.ident or self.place

    @property
    def counted(self) -> bool:
        """Whether its place is only that of its turn, and not seen by the guest."""
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
        """Whether QEMU takes another size than its own. What firmware tables are in is always made with room for more."""
        return self.total > self.used or self.name.startswith("/rom@")


@frozen
class Hardware:
    """
    A whole machine. What this QEMU did not tell is empty, and not compared.

    ``settings`` are what the machine itself was told, ``cpu`` what its first processor is and has; ``processors`` are the places for
    processors, each with whether it is taken; ``usb`` the ports in use; ``keepers`` types of TPM backends.
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
        """The names of what has come, gone or changed of the same QEMU's hardware; none if nothing has."""
        before, after = ({device.key: device for device in each.devices} for each in (self, now))
        moved = [(before.get(key) or after[key]).name for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
        blocks = {block.name for block in self.blocks} ^ {block.name for block in now.blocks}
        return sorted({*moved, *blocks, *(["cpu"] if self.processors != now.processors else [])})
