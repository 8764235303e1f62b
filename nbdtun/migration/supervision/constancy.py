"""Checks that a machine does not change during its migration: at QEMU's events, every few seconds, and before steps without an undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall

from nbdtun.errors import NotMigratable
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.outline import EVENTS, MAX_TOLD, Outline, outline

POLL_SECONDS = 5.0


class Constancy:
    """
    Watches the machine behind ``monitor`` from :meth:`begin` to :meth:`end`; messages call it ``name``.

    ``alarm`` is called with NotMigratable when it has changed, or with the error that prevents the check.
    """

    def __init__(self, clock: Any, monitor: Monitor, name: str, alarm: Callable[[Exception], None]) -> None:
        self._monitor = monitor
        self._name = name
        self._alarm = alarm
        self._was: Outline | None = None
        self._following: Deferred[None] | None = None
        self._poll = LoopingCall(self._poll_machine)
        self._poll.clock = clock

    def __repr__(self) -> str:
        return f"<Constancy of {self._name}, {'watched' if self._poll.running else 'not watched'}>"

    async def begin(self) -> None:
        """Record the machine as it is now, and watch it."""
        self._following = Deferred.fromCoroutine(self._follow())
        self._following.addErrback(self._failed)
        self._was = await outline(self._monitor)
        self._poll.start(POLL_SECONDS, now=False)

    async def check(self) -> None:
        """
        Check it now.

        :raise NotMigratable: it has changed; the text says how.
        """
        if self._was is None:
            return
        changes = list(self._was.changes(await outline(self._monitor)))
        if changes:
            told = "; ".join([*changes[:MAX_TOLD], *(["and more"] if len(changes) > MAX_TOLD else [])])
            raise NotMigratable(
                f"{self._name}: the machine has changed since its migration began: {told}",
                "give both ends the same devices and media, then migrate again",
            )

    def rest(self) -> None:
        """Look at it no more by itself: its QEMU may be busy for long. :meth:`check` still does."""
        if self._poll.running:
            self._poll.stop()

    def end(self) -> None:
        """Stop watching it."""
        self._was = None
        if self._poll.running:
            self._poll.stop()
        if self._following is not None:
            self._following.cancel()

    def _poll_machine(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.check()).addErrback(self._failed)

    async def _follow(self) -> None:
        with self._monitor.listen(*EVENTS) as events:
            while True:
                await events.next()
                await self.check()

    def _failed(self, failure: Any) -> None:
        if self._was is not None and failure.check(CancelledError) is None:
            self._alarm(failure.value)
