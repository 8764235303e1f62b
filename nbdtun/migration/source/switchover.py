"""
The switchover: the guest stands still, the last of its disks and memory is sent, and the source's QEMU is told that it hands over.

What need not wait for the step before goes to QEMU together with it. QEMU obeys in order, but does not stop at a command that fails. So
only those go together whose failure is undone like any other.

- The last looks at the machine are taken while the disks are drained. Nothing of them is lost if a look fails.
- The entry that the switchover begins goes ahead of ``migrate-continue``. If QEMU could not take it, the migration fails, and is undone.
- ``handed_over`` is recorded while the memory is on its way through the tunnel. The destination is not told before QEMU has confirmed it:
  else a killed process could leave a handover without a record, and two running copies. After a kill between the record and that word the
  destination is asked, and has not taken over.
- While the link is known to be lost, the word is not given: until it is, a loss for good can be undone.
- The disks' nodes are removed behind ``migrate-continue``. This closes their connections, which the destination waits for.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nbdtun.deferreds import gather, together, with_timeout
from nbdtun.errors import MemoryFailed
from nbdtun.migration.carrier import Carrier, Ingress
from nbdtun.migration.progress import Pause
from nbdtun.migration.rollback.journal import Journal
from nbdtun.migration.vm.guest import Guest
from nbdtun.migration.vm.memory import Outgoing
from nbdtun.migration.vm.mirror import Mirrors

#: How soon a link that is back is noticed, in seconds.
AGAIN_SECONDS = 0.05


class Switchover:
    """
    Drains ``mirrors``, and sends the last of ``outgoing`` through ``ram``; each of its steps within ``seconds``, None for no limit.

    ``carrier`` knows the state of the link.
    """

    def __init__(
        self,
        clock: IReactorTime,
        guest: Guest,
        journal: Journal,
        mirrors: Mirrors,
        outgoing: Outgoing,
        ram: Ingress,
        carrier: Carrier,
        seconds: float | None,
    ) -> None:
        self._clock = clock
        self._guest = guest
        self._journal = journal
        self._mirrors = mirrors
        self._outgoing = outgoing
        self._ram = ram
        self._carrier = carrier
        self._seconds = seconds
        self._drained_at = self._arrived_at = clock.seconds()

    def __repr__(self) -> str:
        return f"<Switchover of {self._mirrors!r}>"

    async def drain(self, look: Coroutine[Any, Any, None]) -> None:
        """
        Send the last writes of the disks, and take a last ``look`` meanwhile.

        :raise NbdtunError: a disk failed, or ``look`` did.
        """
        await together(self._mirrors.drain(self._seconds), look)
        self._drained_at = self._clock.seconds()

    async def send(self) -> None:
        """
        Send the last of the memory and the devices, and record the handover; returns when all has arrived.

        :raise NbdtunError: something of it failed.
        """
        leaving = together(self._journal.switchover_begins(self._guest.runs), self._outgoing.proceed(self._seconds))
        sent = Deferred.fromCoroutine(leaving)
        Deferred.fromCoroutine(self._mirrors.remove()).addErrback(lambda _: None)  # it is repeated where it matters
        await sent
        self._guest.leaves()
        noted = Deferred.fromCoroutine(self._journal.note(handed_over=True))
        arriving = Deferred.fromCoroutine(self._ram.drained())
        with_timeout(self._clock, self._seconds, arriving, self._late)
        await gather((noted, arriving))
        while self._carrier.link.lost_for is not None:
            await deferLater(self._clock, AGAIN_SECONDS)
        self._arrived_at = self._clock.seconds()

    def _late(self) -> Exception:
        return MemoryFailed(f"the memory did not arrive within {self._seconds:g} s")

    def pause(self, round_trip: float | None = None) -> Pause | None:
        """
        How long the guest stood still, now that it runs at the destination; None if it had not run.

        ``round_trip`` is one to the destination, in seconds, if it is known.
        """
        stopped, now = self._guest.stopped_at, self._clock.seconds()
        if stopped is None:
            return None
        return Pause(self._drained_at - stopped, self._arrived_at - self._drained_at, now - self._arrived_at, round_trip)
