"""
The orderly end of a destination's sessions, before its daemon ends.

A session's state decides. While disks are copied, the next daemon can take the session over, as it can after a ``kill -9``: the source
finds that daemon, and prepares the session again. So the session is undone here without a word to its source. The stream of the memory
cannot be sent a second time, nor a handover be repeated: these sessions are waited for. A session that is still being prepared has copied
nothing, and is refused.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred

from nbdtun.deferreds import end_of
from nbdtun.logs import make_logger
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.register import LEFT, Entry
from nbdtun.migration.destination.sessions import STOPPED, Sessions

#: The states in which a session cannot be left to another daemon, nor be undone without a loss.
RECEIVING = frozenset({State.LISTENING, State.FINISHING, State.ABORTING})
#: The states before anything is copied.
BEGINNING = frozenset({State.NEW, State.PREPARING})


class Draining:
    """Ends ``sessions``, in the order of its methods."""

    log = make_logger()

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def __repr__(self) -> str:
        return f"<Draining of {self._sessions!r}>"

    async def begin(self) -> None:
        """Refuse new sessions, and those that have copied nothing yet."""
        self._sessions.close()
        for each in tuple(self._sessions.register.busy.values()):
            if each.session.state in BEGINNING:
                await _unhindered(each.session.abort(STOPPED))

    @property
    def receiving(self) -> list[str]:
        """The VMs whose memory arrives, or that are being handed over."""
        return sorted(each.vm for each in self._receiving())

    async def received(self) -> None:
        """Wait until no session receives memory, or is being handed over, and until each of their sources has had its answer."""
        while found := self._receiving():
            await end_of(found[0].session.over)
        await self._sessions.register.settled()

    async def end(self, reason: str) -> None:
        """Undo the sessions that still receive memory; those that are being handed over are waited for."""
        await _unhindered(self._sessions.end(self._receiving(), reason))

    async def leave(self) -> None:
        """Leave the remaining sessions to the next daemon: undo them here, now that their channels have ended."""
        for each in tuple(self._sessions.register.busy.values()):
            await each.session.abort(LEFT)

    def _receiving(self) -> list[Entry]:
        return [each for each in self._sessions.register.busy.values() if each.session.state in RECEIVING]


def _unhindered(undoing: Coroutine[Any, Any, object]) -> Deferred[None]:
    """Fires when it has ended. Cancelling this wait, as a second signal does, leaves the undo alone."""
    return end_of(Deferred.fromCoroutine(undoing))
