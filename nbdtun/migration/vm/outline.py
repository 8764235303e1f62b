"""
A machine's outline: the parts of it that must not change during a migration. It is cheap to take, and is compared with itself over time.

A device that comes or goes at one end makes the memory's stream unreadable, or is missing from the guest afterwards. A disk that is added
at both ends would arrive empty, as it did not exist when the copying began.

QEMU facts (7.2 and 10.0):

- ``device_add`` and ``device_del`` are refused at the source from ``migrate`` on, and never at the destination. An unplug that was
  requested earlier goes on; media and sizes of disks can be changed at any time.
- A plugged device is in ``/machine/peripheral`` if it has an id, else in ``/machine/peripheral-anon``; processors and DIMMs too.
- ``query-block`` does not show the filter that a mirror puts above the guest's disk, nor an export's own use of the disk.
- A tray that the guest opens is a part of the device's state, which moves with the guest. So only the medium counts.
- The guest's use of a virtio-mem device changes by itself, and moves with the device's state.
- No event reports a plugged device, nor a resized disk.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from nbdtun.deferreds import gather
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.disks import NAMED

#: Events that may announce a change; the outline is checked then.
EVENTS = ("DEVICE_DELETED", "DEVICE_TRAY_MOVED", "MEMORY_DEVICE_SIZE_CHANGE")
PLUGGED = ("/machine/peripheral", "/machine/peripheral-anon")
#: The most changes in one message.
MAX_TOLD = 4

#: A kind of thing, and its name: ``("device", "d0")``.
Thing = tuple[str, str]


@frozen
class Outline:
    """``things`` maps each thing to its unchangeable part, in words for an operator."""

    things: Mapping[Thing, str]

    def changes(self, now: Outline) -> Iterator[str]:
        """The changes from ``self`` to ``now``, each in a few words."""
        for thing, was in self.things.items():
            if thing not in now.things:
                yield f"{_called(thing)} ({was}) was removed"
            elif now.things[thing] != was:
                yield f"{_called(thing)} was {was} and is {now.things[thing]}"
        for thing, what in now.things.items():
            if thing not in self.things:
                yield f"{_called(thing)} ({what}) was added"


def _called(thing: Thing) -> str:
    return " ".join(thing).strip()


async def outline(monitor: Monitor) -> Outline:
    """Query QEMU for the outline of its machine as it is now."""
    asked = (
        *(monitor.execute("qom-list", {"path": path}) for path in PLUGGED),
        monitor.execute("query-block"),
        monitor.execute("query-memory-devices"),
        monitor.execute("query-cpus-fast"),
    )
    named, nameless, drives, memory, processors = await gather(map(Deferred.fromCoroutine, asked))
    things: dict[Thing, str] = {("the number of processors", ""): str(len(processors))}
    things |= _devices(named, "device") | _devices(nameless, "nameless device")
    for drive in drives:
        things |= _drive(drive)
    for number, device in enumerate(memory):
        things |= _memory(device["type"], device["data"], number)
    return Outline(things)


def _devices(children: list[dict[str, Any]], kind: str) -> dict[Thing, str]:
    found = {child["name"]: child["type"] for child in children if child["type"].startswith("child<")}
    return {(kind, name): type_[len("child<") : -1] for name, type_ in found.items()}


def _drive(drive: Mapping[str, Any]) -> dict[Thing, str]:
    """An empty drive has no medium; a nameless one is called by its device's path."""
    name = drive.get("qdev", "") or drive.get("device", "")
    named = NAMED.match(name)
    name = named[1] if named else name
    inserted = drive.get("inserted")
    if inserted is None:
        return {("drive", name): "empty"}
    access = "read-only" if inserted.get("ro") else "writable"
    size = inserted.get("image", {}).get("virtual-size", 0)
    return {("drive", name): f"{access}, {size} bytes, {inserted.get('file') or inserted.get('node-name', '')}"}


def _memory(kind: str, data: Mapping[str, Any], number: int) -> dict[Thing, str]:
    size = "" if kind == "virtio-mem" else f", {data.get('size', 0)} bytes"
    return {("memory device", data.get("id") or str(number)): f"{kind}{size}"}
