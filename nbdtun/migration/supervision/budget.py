"""
The bandwidth and the downtime that a migration may use; both can be changed while it runs.

QEMU facts (7.2 and 10.0): ``block-job-set-speed`` takes effect on a running mirror, 0 meaning no limit; ``migrate-set-parameters`` takes
``max-bandwidth`` and ``downtime-limit`` (in ms, at most 2000 s) while a migration is active, and uses them from its next round on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.vm.memory import Tuning
from nbdtun.migration.vm.mirror import Mirrors

UNLIMITED = 1 << 50


class Budget:
    """
    ``bandwidth`` in bytes per second, None for no limit, and ``downtime`` in seconds.

    The bandwidth is for the disks together, which share it equally, and then for the memory. It may have less for a time: what others leave
    to it.
    """

    def __init__(self, bandwidth: int | None, downtime: float) -> None:
        self.bandwidth = bandwidth
        self.downtime = downtime
        self._ceiling: int | None = None
        self._mirrors: Mirrors | None = None
        self._tuning: Tuning | None = None

    def __repr__(self) -> str:
        return f"<Budget of {self.bandwidth or 'any number of'} bytes/s, {self.downtime:g} s>"

    def part(self, disks: int) -> int:
        """The speed of one of ``disks`` mirrors, as ``blockdev-mirror`` takes it."""
        return max(1, self._allowed // disks) if self._allowed and disks else 0

    @property
    def _allowed(self) -> int | None:
        return lesser(self.bandwidth, self._ceiling)

    @property
    def parameters(self) -> Mapping[str, int]:
        """The budget as parameters of QEMU's migration."""
        return {"max-bandwidth": self._allowed or UNLIMITED, "downtime-limit": round(self.downtime * 1000)}

    async def limit_disks(self, mirrors: Mirrors) -> None:
        """From now on ``mirrors`` run: pass changes on to them."""
        self._mirrors = mirrors
        await mirrors.set_speed(self.part(len(mirrors)))  # it may have changed while they were started

    async def limit_memory(self, tuning: Tuning, undo: UndoStack, capabilities: Iterable[str]) -> None:
        """The memory is about to be sent, with ``capabilities``: pass changes on to ``tuning`` from now on."""
        told = self.parameters
        await tuning.set(undo, capabilities, told)
        self._tuning = tuning
        if self.parameters != told:
            await tuning.change(self.parameters)

    async def set_bandwidth(self, bandwidth: int | None) -> None:
        """
        Change the bandwidth, in any phase.

        :raise MonitorError: QEMU does not answer.
        """
        self.bandwidth = bandwidth
        await self._apply()

    async def set_ceiling(self, ceiling: int | None) -> None:
        """
        Change what others leave to it, in bytes per second; None for all.

        :raise MonitorError: QEMU does not answer.
        """
        self._ceiling = ceiling
        await self._apply()

    async def _apply(self) -> None:
        if self._mirrors is not None:
            await self._mirrors.set_speed(self.part(len(self._mirrors)))
        await self._tune()

    async def set_downtime(self, seconds: float) -> None:
        """
        Change the downtime that QEMU aims at.

        :raise MonitorError: QEMU does not answer.
        """
        self.downtime = seconds
        await self._tune()

    async def _tune(self) -> None:
        if self._tuning is not None:
            await self._tuning.change(self.parameters)


def lesser(*limits: int | None) -> int | None:
    """The least of these limits, None for no limit."""
    return min((limit for limit in limits if limit is not None), default=None)
