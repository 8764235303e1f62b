"""
What an earlier far end has made for the VM, and left when it was killed: the next one removes it, if no guest can have run on it.

That is sure in two cases. Its QEMU still waits for a migration, and its journal does not say that the guest was handed over. Or QEMU has
ended, no process holds an image, and each image is blank or was seen to be unused. In all other cases everything stays.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from attrs import evolve, frozen
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from nbdtun.errors import MonitorError, NbdtunError, NotMigratable
from nbdtun.logs import make_logger
from nbdtun.migration.catalogue import OCCUPIED
from nbdtun.migration.finding import Finding
from nbdtun.migration.qmp.dial import is_served
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.journal import read
from nbdtun.migration.rollback.presence import identity, lives, pid_of
from nbdtun.migration.vm.machine import run_state
from nbdtun.ownership.directories import remove_empty
from nbdtun.ownership.images import MadeFile, remove_left, remove_made
from nbdtun.process import Reactor
from nbdtun.spawn.far.images import holds_nothing
from nbdtun.spawn.far.record import Record, Recorded
from nbdtun.spawn.far.start import stop_unit, unit_pid

#: States of a QEMU on which no guest has run.
UNUSED: Final = frozenset({"inmigrate", "prelaunch"})
#: How often a QEMU is looked at that is starting or ending, and seconds between that; the last half of them after SIGKILL.
_LOOKS, _LOOK_SECONDS = 100, 0.1
#: Seconds that such a QEMU has to end.
END_SECONDS: Final = _LOOKS * _LOOK_SECONDS


@frozen
class Seen:
    """
    What an earlier QEMU is: ``alive``; ``doubt`` is why a guest may have run on it, ``ran``: one has. ``session`` is one that did not hand
    over.
    """

    alive: bool
    doubt: str = ""
    session: str = ""
    ran: bool = False


class Earlier:
    """What was left of ``vm``, as the ``record`` has it; ``may_have_run`` says whether its guest has run here, as far as that is known."""

    log = make_logger()

    def __init__(self, reactor: Reactor, vm: str, record: Record, may_have_run: Callable[[], bool]) -> None:
        self._reactor = reactor
        self._vm = vm
        self._record = record
        self._may_have_run = may_have_run
        self._unused = ""  # the process that was seen to be unused

    def __repr__(self) -> str:
        return f"<Earlier {self._vm}>"

    async def look(self) -> tuple[str, str]:
        """The monitor of the QEMU that was made, and a session of it that has ended without its guest; empty if none is known."""
        left = self._known()
        if left is None:
            return "", ""
        seen = await self._see(left)
        return left.qmp, seen.session

    async def settle(self) -> None:
        """The source knows the outcome: what a guest has run on is written down no longer."""
        left = self._known()
        if left is not None and (await self._see(left)).ran:
            self._record.erase()

    async def clear(self) -> Finding | None:
        """
        Remove what was left; or return why it stays, for an operator.

        :raise NotMigratable: what was left cannot be read.
        """
        left = self._record.read()
        if left is None:
            return None
        seen = await self._see(left)
        doubt = seen.doubt or ("" if seen.alive else await deferToThread(self._doubt, left))
        if not doubt and seen.alive and not await self._end(left):
            doubt = "its QEMU does not end"
        if doubt:
            named = ", ".join(each.path for each in left.images if is_there(each)) or left.qmp
            self.log.warn("{vm}: {named} stays: {doubt}", vm=self._vm, named=named, doubt=doubt)
            what = f"{self._vm}: an earlier far end was killed and has left {named}, which stays, as {doubt}"
            return OCCUPIED(what, "use --resolve; or end its QEMU and remove the files there, if nothing in them is needed")
        await deferToThread(remove, left)
        self._record.erase()
        self.log.info("{vm}: removed what an earlier far end had made", vm=self._vm)
        return None

    def _known(self) -> Recorded | None:
        """What was left, as far as that can be read."""
        try:
            return self._record.read()
        except NotMigratable as odd:
            self.log.warn("{vm}: {reason}", vm=self._vm, reason=odd.line)
            return None

    async def _see(self, left: Recorded) -> Seen:
        """Ask the QEMU that was made, if it lives; systemd knows the process of a unit."""
        if left.unit and not left.process:
            left = evolve(left, process=identity(await deferToThread(unit_pid, left.unit)))
        if left.maker != identity(os.getpid()) and lives(left.maker):
            return Seen(True, "that far end lives")
        if not await self._answers(left):
            return Seen(True, "its QEMU lives, and has no monitor") if lives(left.process) else Seen(False)
        try:
            monitor = await self._dial(left)
            try:
                seen = await self._ask(monitor, left)
            finally:
                await monitor.close()
        except NbdtunError as error:
            return Seen(True, f"its QEMU cannot be asked: {error}")
        if not seen.doubt:
            self._unused = left.process
        return seen

    async def _answers(self, left: Recorded) -> bool:
        """Whether its monitor has a server; a QEMU that has just been started has none yet."""
        for _ in range(_LOOKS):
            if is_served(left.qmp) or not lives(left.process):
                break
            await deferLater(self._reactor, _LOOK_SECONDS)
        return is_served(left.qmp)

    async def _dial(self, left: Recorded) -> Monitor:
        """Connect to its monitor. One that is starting has yet to take the connections of those who were killed."""
        for look in range(_LOOKS):
            monitor = Monitor(self._reactor, left.qmp, self._vm)
            try:
                await monitor.connect()
                break
            except MonitorError as error:
                await monitor.close()
                if not isinstance(error.__cause__, BlockingIOError) or look == _LOOKS - 1:
                    raise
            await deferLater(self._reactor, _LOOK_SECONDS)
        return monitor

    async def _ask(self, monitor: Monitor, left: Recorded) -> Seen:
        pid = monitor.credentials.pid if monitor.credentials else 0
        if not left.process or identity(pid) != left.process:
            return Seen(True, f"another process listens at {left.qmp}")
        state, entry = await run_state(monitor), await read(monitor)
        if entry is not None and entry.alive:
            return Seen(True, "another nbdtun works on its QEMU")
        if entry is not None and entry.handed_over:
            return Seen(True, "its guest was handed over, and may run there")
        if state not in UNUSED:
            return Seen(True, f"its guest is {state} there", ran=True)
        return Seen(True, session="" if entry is None else entry.session)

    def _doubt(self, left: Recorded) -> str:
        """Why a guest may have run on the images of a QEMU that has ended; empty if none has."""
        if self._may_have_run():
            return "its guest has run there, or may have"
        seen = bool(left.process) and left.process == self._unused
        for each in left.images:
            if is_there(each) and not holds_nothing(each.path, seen=seen):
                return f"{each.path} is in use, or not empty"
        return ""

    async def _end(self, left: Recorded) -> bool:
        """End QEMU, and wait for that; returns whether it has ended."""
        if left.unit:
            await deferToThread(stop_unit, left.unit)
        for look in range(_LOOKS):
            if not lives(left.process):
                return True
            if look in (0, _LOOKS // 2):
                _send(left.process, signal.SIGKILL if look else signal.SIGTERM)
            await deferLater(self._reactor, _LOOK_SECONDS)
        return False


def _send(process: str, number: int) -> None:
    """Send a signal to this process, and to no other that has its pid by now."""
    with suppress(OSError):
        held = os.pidfd_open(pid_of(process))
        try:
            if lives(process):
                signal.pidfd_send_signal(held, number)
        finally:
            os.close(held)


def is_there(made: MadeFile) -> bool:
    """Whether the file at its path is still the one that was made."""
    with suppress(OSError):
        found = os.lstat(made.path)
        return (found.st_dev, found.st_ino) == (made.device, made.inode)
    return False


def remove(left: Recorded) -> None:
    """Remove it, the last first: what is not ours any more stays."""
    for image in reversed(left.images):
        remove_made(image)
    for path in reversed(left.left):
        remove_left(path)
    for directory in reversed(left.directories):
        with suppress(OSError):  # somebody else has put something there
            remove_empty(directory)
