"""
Each step beside its undo.

A step pushes its undo *before* it begins, since a command without an answer may have been carried out. So every undo first checks
whether there is something to undo. They run in reverse order, each with a time limit, and each even if the one before failed. They never
raise: a failed undo must not hide the error that made it necessary. The failures are returned as lines for the operator.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from nbdtun.deferreds import with_timeout
from nbdtun.errors import MonitorLost
from nbdtun.logs import make_logger

Undo = Callable[[], Coroutine[Any, Any, None]]


class UndoStack:
    """The undo steps, last first."""

    log = make_logger()

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        """``seconds`` is the limit for each undo."""
        self.clock = clock
        self._seconds = seconds
        self._steps: list[tuple[str, Undo]] = []

    def __repr__(self) -> str:
        return f"<UndoStack {', '.join(what for what, _ in self._steps) or 'empty'}>"

    def push(self, what: str, undo: Undo) -> None:
        """Add an undo step; ``what`` names it, in words that fit after "could not"."""
        self._steps.append((what, undo))

    def forget(self) -> None:
        """Drop all steps: nothing may be undone any more."""
        self._steps.clear()

    async def unwind(self) -> list[str]:
        """Undo everything; return a line for each that could not be undone."""
        left: list[str] = []
        while self._steps:
            what, undo = self._steps.pop()
            try:
                work = Deferred.fromCoroutine(undo())
                await with_timeout(self.clock, self._seconds, work, lambda: TimeoutError(f"not done within {self._seconds:g} s"))
            except MonitorLost:
                pass  # a QEMU that has ended keeps nothing
            except Exception as error:  # whatever has failed, the other steps are undone all the same
                why = str(error) or "it was interrupted"  # a CancelledError says nothing
                left.append(f"could not {what}: {why}")
                self.log.debug("rolling back: could not {what}: {why}", what=what, why=why)
        return left
