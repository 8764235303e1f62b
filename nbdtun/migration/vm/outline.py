"""
A machine's outline: as much of it as must not change while it is moved. It is cheap to take, and compared with itself over time.

What comes or goes at one end only makes the memory's stream unreadable, or leaves the guest without what it had. A disk that comes at both
ends would arrive empty, as it was not there when the copying began.

QEMU facts (7.2 and 10.0):

- ``device_add`` and ``device_del`` are refused at the source from ``migrate`` on, and at no time at the destination. An unplugging that was
  asked for before goes on; media and sizes of disks can be changed all the time.
- What was plugged in is in ``/machine/peripheral`` if it has an id, else in ``/machine/peripheral-anon``; processors and DIMMs too.
- ``query-block`` passes over the filter that a mirror puts above the guest's disk, and over an export's own use of it.
- A tray that the guest opens is a part of the device's state, which goes with it. So it is the medium that counts.
- How much of a virtio-mem device the guest uses changes by itself, and goes with the device's state.
- No event tells of what was plugged in, nor of a disk that was resized.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred

from nbdtun.deferreds import gather
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.disks import NAMED

#: What may announce a change; it is looked at then.
EVENTS = ("DEVICE_DELETED", "DEVICE_TRAY_MOVED", "MEMORY_DEVICE_SIZE_CHANGE")
PLUGGED = ("/machine/peripheral", "/machine/peripheral-anon")
#: Changes that are told of at once; more of them help nobody.
MAX_TOLD = 4

#: A kind of thing, and its name: ``("device", "d0")``.
Thing = tuple[str, str]


@frozen
class Outline:
    """``things`` maps each to what must not change of it, as an operator reads it."""

    things: Mapping[Thing, str]

    def changes(self, now: Outline) -> Iterator[str]:
        """What has changed from ``self`` to ``now``, each in a few words."""
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
    """Ask QEMU for the outline of its machine as it is now."""
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
    """An empty drive has no medium; one that nobody gave a name is called by its device's path."""
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
