"""The machine as a whole: what it is doing, and what both ends' machines must have in common for a migration to be possible at all."""

from __future__ import annotations

from attrs import frozen

from nbdtun.errors import CommandFailed, NotMigratable
from nbdtun.migration.monitor import Monitor

#: Run states in which the guest is to go on at the destination.
RUNNING = frozenset({"running", "suspended"})
#: Run states that QEMU's migration itself puts a machine into.
MIGRATING = frozenset({"finish-migrate", "postmigrate"})


async def run_state(monitor: Monitor) -> str:
    """QEMU's word for what the machine is doing: running, paused, inmigrate, postmigrate..."""
    return str((await monitor.execute("query-status"))["status"])


@frozen
class Machine:
    """QEMU's type of the machine (``pc-q35-7.2-machine``) and the size of its RAM in bytes."""

    kind: str
    memory: int

    def check(self, other: Machine) -> None:
        """
        Compare ``self``, at the destination, with the ``other`` at the source.

        :raise NotMigratable: QEMU would refuse the memory when it arrives, which is too late.
        """
        if self.kind and other.kind and other.kind != self.kind:
            mine, theirs = (kind.removesuffix("-machine") for kind in (self.kind, other.kind))
            both = f"the machine is {theirs} at the source and {mine} at the destination"
            raise NotMigratable(f"{both}; start the destination with -machine {theirs}")
        if other.memory != self.memory:
            both = f"the VM has {other.memory} bytes of RAM at the source and {self.memory} at the destination"
            raise NotMigratable(f"{both}; start it with the same -m")


async def machine(monitor: Monitor) -> Machine:
    """Ask QEMU what machine it is; a type that it does not tell is left empty."""
    summary = await monitor.execute("query-memory-size-summary")
    try:
        kind = str(await monitor.execute("qom-get", {"path": "/machine", "property": "type"}))
    except CommandFailed:
        kind = ""
    return Machine(kind, int(summary["base-memory"]))
