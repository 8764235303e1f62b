"""
The guest's activity: how fast it dirties its memory, and how fast it writes to its disks.

QEMU facts (7.2 and 10.0; ``migration/dirtyrate.c``): ``calc-dirty-rate`` with its default, page sampling, hashes 512 pages per GiB of RAM
twice, ``calc-time`` seconds apart, in a thread of its own. It neither stops the guest nor switches the logging of dirty pages on, as its
other modes do. ``query-dirty-rate`` then reports the result, in MiB/s. The command is refused during another measurement. The counters of
``query-blockstats`` only grow.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nbdtun.errors import MigrationError
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.disks import Disk

#: Bytes per second: QEMU counts the dirty rate in whole MiB.
RESOLUTION = 1 << 20
SAMPLE_SECONDS = 1
LATE_SECONDS = 10.0
POLL_SECONDS = 0.1


@frozen
class Activity:
    """Bytes per second of RAM that a guest dirties, and that it writes to its disks."""

    memory: float
    writes: float


async def activity(monitor: Monitor, clock: IReactorTime, disks: Iterable[Disk]) -> Activity:
    """
    Measure a running guest for :data:`SAMPLE_SECONDS`.

    :raise MigrationError: QEMU cannot measure it, or is already measuring for another client.
    """
    nodes = {disk.node for disk in disks}
    began, before = clock.seconds(), await _written(monitor, nodes)
    memory = await _dirty_rate(monitor, clock)
    written = await _written(monitor, nodes) - before
    return Activity(memory, max(0, written) / max(clock.seconds() - began, POLL_SECONDS))


async def _dirty_rate(monitor: Monitor, clock: IReactorTime) -> float:
    if not await monitor.has("calc-dirty-rate"):
        raise MigrationError(f"{monitor.name}: this QEMU cannot measure how fast the guest dirties its memory")
    if (await monitor.execute("query-dirty-rate"))["status"] == "measuring":
        raise MigrationError(f"{monitor.name}: QEMU is already measuring the dirty rate for another client", "try again later")
    await monitor.execute("calc-dirty-rate", {"calc-time": SAMPLE_SECONDS})
    end = clock.seconds() + SAMPLE_SECONDS + LATE_SECONDS
    while clock.seconds() < end:
        await deferLater(clock, POLL_SECONDS)
        answer = await monitor.execute("query-dirty-rate")
        if answer["status"] == "measured":
            return float(answer.get("dirty-rate", 0)) * RESOLUTION
    raise MigrationError(f"{monitor.name}: QEMU did not measure the dirty rate within {SAMPLE_SECONDS + LATE_SECONDS:g} s")


async def _written(monitor: Monitor, nodes: set[str]) -> int:
    devices = await monitor.execute("query-blockstats")
    return sum(device["stats"]["wr_bytes"] for device in devices if device.get("node-name") in nodes)
