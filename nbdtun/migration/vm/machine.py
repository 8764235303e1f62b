"""
The machine as a whole: its run state, its announcement, and the type and RAM that both ends must have in common for a migration to be
possible at all.

QEMU facts (7.2 and 10.0; ``migration/migration.c``, ``net/announce.c``). An incoming QEMU announces its guest by itself when the memory has
arrived: five times within a second, by RARP, and by a virtio guest that can do so. It does not wait for ``cont``. So a guest that runs
later than that, or at the source after all, would be looked for in the wrong place. ``announce-self`` (4.0) does it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import frozen

from nbdtun.errors import CommandFailed, MonitorError, NotMigratable
from nbdtun.logs import make_logger
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.units import size_text

#: Run states in which the guest is to go on at the destination.
RUNNING = frozenset({"running", "suspended"})
#: Run states that QEMU's migration itself puts a machine into.
MIGRATING = frozenset({"finish-migrate", "postmigrate"})

#: QEMU's own times of an announcement, in milliseconds: its parameters ``announce-initial`` and their like.
ANNOUNCEMENT: Final = {"initial": 50, "max": 550, "rounds": 5, "step": 100}

_log = make_logger()


async def run_state(monitor: Monitor) -> str:
    """QEMU's run state of the machine: running, paused, inmigrate, postmigrate..."""
    return str((await monitor.execute("query-status"))["status"])


async def announce(monitor: Monitor) -> None:
    """Tell the switches of its network where the guest runs now; a failure is only worth a warning."""
    try:
        if await monitor.has("announce-self"):
            await monitor.execute("announce-self", ANNOUNCEMENT)
    except (CommandFailed, MonitorError) as error:
        _log.warn("{vm}: not announced to its network: {reason}", vm=monitor.name, reason=str(error))


@frozen
class Machine:
    """QEMU's type of the machine (``pc-q35-7.2-machine``) and the size of its RAM in bytes."""

    kind: str
    memory: int

    @property
    def type(self) -> str:
        """The type as ``-machine`` takes it."""
        return self.kind.removesuffix("-machine")

    def differences(self, other: Machine) -> Iterator[NotMigratable]:
        """Compare ``self``, at the destination, with the ``other`` at the source."""
        if self.kind and other.kind and other.kind != self.kind:
            both = f"the machine is {other.type} at the source and {self.type} at the destination"
            yield NotMigratable(both, f"start the destination with -machine {other.type}")
        if other.memory != self.memory:
            there, here = sizes(other.memory, self.memory)
            both = f"the VM has {there} of RAM at the source and {here} at the destination"
            yield NotMigratable(both, "start the destination with the same -m")


def sizes(one: int, other: int) -> tuple[str, str]:
    """Two sizes that differ, for one line: in bytes where rounding would hide the difference."""
    texts = size_text(one), size_text(other)
    return texts if texts[0] != texts[1] else (f"{one} bytes", f"{other} bytes")


async def machine(monitor: Monitor) -> Machine:
    """Query QEMU for its machine; the type is empty if it does not report one."""
    summary = await monitor.execute("query-memory-size-summary")
    try:
        kind = str(await monitor.execute("qom-get", {"path": "/machine", "property": "type"}))
    except CommandFailed:
        kind = ""
    return Machine(kind, int(summary["base-memory"]))
