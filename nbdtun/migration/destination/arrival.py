"""
The end of the copying: the memory and the devices have arrived, and the disks are served no more.

The guest stands still meanwhile. So all this is done as soon as it can be, while the source's word to take over is still on its way.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from nbdtun.deferreds import branch, with_timeout
from nbdtun.errors import MemoryFailed, NbdtunError
from nbdtun.migration.supervision.constancy import Constancy
from nbdtun.migration.vm.exports import LEAVING_SECONDS, Exports
from nbdtun.migration.vm.memory import Incoming


class Arrival:
    """Waits for ``incoming``, looks a last time whether the machine is the same, and retires ``exports``."""

    def __init__(self, clock: IReactorTime, incoming: Incoming, constancy: Constancy, exports: Exports) -> None:
        self._clock = clock
        self._incoming = incoming
        self._constancy = constancy
        self._exports = exports
        self._outcome: Deferred[NbdtunError | None] = succeed(None)

    def __repr__(self) -> str:
        return f"<Arrival, {'over' if self._outcome.called else 'under way'}>"

    def begin(self, fail: Callable[[NbdtunError], object]) -> None:
        """
        Begin to wait; ``fail`` is called when something is wrong with what has arrived.

        Memory that does not arrive is left to others: its source has the better reason, and says so first.
        """
        self._outcome = Deferred.fromCoroutine(self._run(fail))
        self._outcome.addErrback(lambda _: None)  # it was cancelled

    async def _run(self, fail: Callable[[NbdtunError], object]) -> NbdtunError | None:
        try:
            await self._incoming.completed()
        except NbdtunError as error:
            return error
        try:
            await self._constancy.check()
            self._constancy.end()
            await self._exports.retire()
        except NbdtunError as error:
            fail(error)
            return error
        return None

    async def over(self, seconds: float) -> None:
        """
        Wait until all that is done, for at most ``seconds``; and for clients that do not leave the disks, as long as a handshake lasts.

        :raise MemoryFailed: not everything has arrived.
        :raise NbdtunError: something of it failed.
        """
        self._exports.hurry()
        late = MemoryFailed(f"not all of the memory and the devices have arrived within {seconds:g} s")
        error = await with_timeout(self._clock, seconds + LEAVING_SECONDS, branch(self._outcome), lambda: late)
        if error is not None:
            raise error

    def cancel(self) -> None:
        """Wait no longer; safe to repeat."""
        self._outcome.cancel()
