"""A guest that is paused early: what is left of its disks and memory only shrinks from then on."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from nbdtun.deferreds import together
from nbdtun.logs import make_logger
from nbdtun.migration.progress import Phase
from nbdtun.migration.rollback.journal import Journal
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.supervision.supervision import Supervision
from nbdtun.migration.vm.guest import Guest


class Force:
    """Pauses ``guest``, and has ``supervision`` know it; ``undo`` lets it run on, or whoever finds ``journal``."""

    log = make_logger()

    def __init__(self, clock: IReactorTime, guest: Guest, undo: UndoStack, journal: Journal, supervision: Supervision) -> None:
        self._clock = clock
        self._guest = guest
        self._undo = undo
        self._journal = journal
        self._supervision = supervision

    def __repr__(self) -> str:
        return f"<Force upon {self._guest!r}>"

    async def apply(self, why: str) -> None:
        """
        Pause it until the migration ends; ``why`` names the VM, and the time limit that has passed.

        :raise MonitorError: QEMU does not answer.
        """
        self.log.warn("{why}; the guest is paused until the migration ends", why=why)
        if self._supervision.meter.now.phase is Phase.MIRROR:  # in later phases the migration has this undo already, in its place
            self._undo.push("let the guest run on", lambda: self._guest.resume(self._clock))
        self._supervision.convergence.force()
        self._supervision.meter.converge(self._supervision.convergence.measures)
        if self._guest.runs:
            await together(self._journal.note(forced=True), self._guest.pause())  # in this order in the monitor
