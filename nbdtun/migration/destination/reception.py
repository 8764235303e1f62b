"""The reception of the memory: what QEMU is set to before it waits for its stream."""

from __future__ import annotations

from collections.abc import Sequence

from nbdtun.migration.check.bitmaps import accept
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.vm.bitmaps import CAPABILITY, Passenger, expected
from nbdtun.migration.vm.exports import Pairing
from nbdtun.migration.vm.memory import MAPPING, Tuning, spread, spreadable


class Reception:
    """Sets the QEMU behind ``monitor`` by ``tuning``, which ``undo`` puts back; ``pairings`` are the disks."""

    def __init__(self, monitor: Monitor, tuning: Tuning, undo: UndoStack, pairings: Sequence[Pairing]) -> None:
        self._monitor = monitor
        self._tuning = tuning
        self._undo = undo
        self._pairings = pairings

    def __repr__(self) -> str:
        return f"<Reception at {self._monitor.name}>"

    async def expect(self, bitmaps: tuple[Passenger, ...]) -> tuple[Passenger, ...]:
        """
        Let QEMU accept those of ``bitmaps`` that it can take; some may have come since the session was prepared. Returns those.

        :raise NotMigratable: one that must not be lost cannot be taken.
        """
        checklist = Checklist()
        pairs = {number: (pairing.source, pairing.here) for number, pairing in enumerate(self._pairings)}
        accepted = await accept(checklist, self._monitor, pairs, bitmaps)
        checklist.refuse()
        if accepted.bitmaps:
            nodes = {number: (node, self._pairings[number].name) for number, node in accepted.nodes.items()}
            await self._tuning.set(self._undo, (CAPABILITY,), {MAPPING: expected(accepted.bitmaps, nodes)})
        return accepted.bitmaps

    async def spread(self, connections: int) -> int:
        """Let QEMU accept so many ``connections`` beside the main one; returns 0 if it cannot."""
        if not connections or not await spreadable(self._monitor):
            return 0
        await spread(self._tuning, self._undo, connections)
        return connections
