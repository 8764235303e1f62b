"""
QEMUs whose daemon was killed while they received their memory: the next daemon ends them when it starts.

They are remembered, since a source may still ask for their outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import CancelledError, Deferred

from nbdtun.deferreds import gather
from nbdtun.errors import NbdtunError
from nbdtun.logs import make_logger
from nbdtun.migration.destination.recovery import end_failed
from nbdtun.migration.qmp.monitor import Monitor


class Orphans:
    """``monitor`` makes one for a VM's name, not connected yet."""

    log = make_logger()

    def __init__(self, monitor: Callable[[str], Monitor]) -> None:
        self._monitor = monitor
        self._ended: set[str] = set()
        self._looking: list[Deferred[None]] = []

    def __repr__(self) -> str:
        return f"<Orphans, {len(self._ended)} ended>"

    def __contains__(self, session: object) -> bool:
        """Whether the QEMU of that session has been ended."""
        return session in self._ended

    def look(self, vms: Iterable[str]) -> None:
        """Look for them among ``vms``, and end them; a VM that cannot be asked is left alone."""
        self._looking += [Deferred.fromCoroutine(self._look(vm)) for vm in vms]

    async def stop(self) -> None:
        """Stop looking, and close the monitors."""
        for looking in self._looking:
            looking.cancel()
        await gather(self._looking)

    async def _look(self, vm: str) -> None:
        monitor = self._monitor(vm)
        try:
            await monitor.connect()
            await self._end(vm, monitor)
        except (NbdtunError, CancelledError) as reason:
            self.log.debug("{vm}: not looked at: {reason}", vm=vm, reason=reason)
        finally:
            await monitor.close()

    async def _end(self, vm: str, monitor: Monitor) -> None:
        session = await end_failed(monitor)
        if session is not None:
            self._ended.add(session)
            text = "{vm}: QEMU was receiving a migration when nbdtun-dest was killed, so it has been ended; start it again with {how}"
            self.log.info(text, vm=vm, how="-S -incoming defer")
