"""Makes all of a plan at the far end, or nothing; and removes what it made, unless a guest has run on it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from attrs import evolve
from twisted.internet.defer import DeferredLock
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from nbdtun.errors import DestinationFailed, MonitorError, NbdtunError, NotMigratable, error_of
from nbdtun.logs import make_logger
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.qmp.dial import is_served
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.presence import identity
from nbdtun.migration.vm.machine import run_state
from nbdtun.ownership.directories import remove_empty
from nbdtun.ownership.images import MadeFile, make_directory, remove_left, remove_made
from nbdtun.process import Reactor
from nbdtun.spawn.command.hidden import Hiding
from nbdtun.spawn.command.line import parse
from nbdtun.spawn.far.earlier import UNUSED, Earlier
from nbdtun.spawn.far.host import user_id
from nbdtun.spawn.far.images import make_image
from nbdtun.spawn.far.look import look, missing_of
from nbdtun.spawn.far.record import Record, Recorded
from nbdtun.spawn.far.start import LOG, Started, start
from nbdtun.spawn.values import MADE, Found, Plan
from nbdtun.spawn.wire import Json, plan_of, to_json

#: Seconds that a QEMU has until its monitor answers, and between two looks at it.
START_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.05
#: How often a QEMU is asked for its state, and seconds between that.
_ASKED: Final = 5
_ASK_SECONDS: Final = 0.5


class Made:
    """What was made, with the monitor ``qmp``; the ``record`` has it too."""

    def __init__(self, qmp: str = "", record: Record | None = None) -> None:
        self._qmp = qmp
        self._record = record
        self.directories: list[str] = []
        self.images: list[MadeFile] = []
        self.left: list[str] = []
        self.started: Started | None = None

    def __repr__(self) -> str:
        return f"<Made {len(self.images)} images, {self.started}>"

    def note(self) -> None:
        """Write down what there is now."""
        if self._record is not None:
            process = identity(self.started.pid) if self.started and self.started.pid else ""
            unit = self.started.unit if self.started else ""
            self._record.write(Recorded(self._qmp, self.directories, self.images, self.left, process, unit, identity(os.getpid())))

    def add_image(self, file: MadeFile) -> None:
        """A file was made."""
        self.images.append(file)
        self.note()

    def forget(self) -> None:
        """It is to stay, or is gone."""
        if self._record is not None:
            self._record.erase()

    def remove(self) -> None:
        """Remove it all."""
        if self.started is not None:
            self.started.end()
            self.started = None
        while self.images:
            remove_made(self.images.pop())
        while self.left:
            remove_left(self.left.pop())
        while self.directories:
            with suppress(OSError):  # somebody else has put something there
                remove_empty(self.directories.pop())
        self.forget()


class Maker:
    """
    The far end's maker, of one VM at a time. Plans, and what is found of them, are JSON.

    The ``record`` has what it makes, and ``earlier`` is what a killed far end has left.
    """

    log = make_logger()

    def __init__(self, reactor: Reactor, record: Record | None = None, earlier: Earlier | None = None) -> None:
        self._reactor = reactor
        self._record = record
        self._earlier = earlier
        self._made: Made | None = None
        self._plan: Plan | None = None
        self._lock = DeferredLock()  # a near end that gives up asks to remove what is still being made

    def __repr__(self) -> str:
        return f"<Maker of {self._plan.vm if self._plan else 'nothing'}>"

    async def look(self, wanted: Json) -> Json:
        """
        Look at a plan; nothing is changed.

        :raise ProtocolViolation: it is none.
        """
        plan = plan_of(wanted)
        return to_json(await deferToThread(look, plan))

    async def make(self, plan: Json) -> str:
        """
        Make all of a plan, or nothing; returns the path of the monitor of the QEMU that now waits.

        :raise NbdtunError: it cannot be made: that which the first finding says.
        """
        wanted = plan_of(plan)
        async with self._lock:
            return await self._make(wanted)

    async def _make(self, wanted: Plan) -> str:
        if self._made is not None:
            raise NotMigratable("a destination was made here already")
        left = await self._earlier.clear() if self._earlier is not None else None
        found: Found = await deferToThread(look, wanted)
        refuse(found if left is None or not failures(found) else evolve(found, findings=(left, *found.findings)))
        self._plan, self._made = wanted, Made(wanted.qmp, self._record)
        try:
            await deferToThread(make_files, wanted, self._made)
            self._made.started = start(wanted, found.emulator, f"nbdtun-{wanted.vm}")
            self._made.note()
            await self._wait(wanted, self._made.started)
        except BaseException:
            made, self._made = self._made, None
            await deferToThread(made.remove)
            raise
        self.log.info("{vm}: made its destination, {qmp}", vm=wanted.vm, qmp=wanted.qmp)
        return wanted.qmp

    async def remove(self) -> None:
        """Remove what was made, unless a guest has run on it; safe to repeat. What is being made is removed then."""
        async with self._lock:
            made, self._made = self._made, None
            if made is None or self._plan is None:
                return
            if await self._has_run(self._plan):
                self.log.warn("{vm}: its guest has run here, or may have, so nothing is removed", vm=self._plan.vm)
                return  # the record stays, for --resolve
            await deferToThread(made.remove)

    async def keep(self) -> None:
        """A guest runs on what was made: it is never removed."""
        async with self._lock:
            made, self._made = self._made, None
            if made is not None:
                made.forget()

    async def _wait(self, plan: Plan, started: Started) -> None:
        """Wait until the monitor answers, and QEMU waits for a migration."""
        end = self._reactor.seconds() + START_SECONDS
        while not is_served(plan.qmp):
            if started.has_ended():
                words = Hiding(parse(plan.arguments))(started.last_words())  # QEMU repeats its options
                raise NotMigratable(f"QEMU has ended at once: {words or 'without a word'}")
            if self._reactor.seconds() > end:
                raise NotMigratable(f"QEMU has not opened {plan.qmp} for {START_SECONDS:.0f} s")
            await deferLater(self._reactor, _LOOK_SECONDS)
        state = await self._state(plan)
        if state != "inmigrate":
            raise NotMigratable(f"the QEMU that was started is {state}, and does not wait for a migration")

    async def _state(self, plan: Plan) -> str:
        monitor = Monitor(self._reactor, plan.qmp, plan.vm)
        await monitor.connect()
        try:
            return await run_state(monitor)
        finally:
            await monitor.close()

    async def _has_run(self, plan: Plan) -> bool:
        """
        Whether a guest runs on it, has run, or may: one that cannot be asked is not removed.

        One that has ended was never told to go on, or :meth:`keep` was called.
        """
        for _ in range(_ASKED):
            if not is_served(plan.qmp):
                return False
            try:
                return await self._state(plan) not in UNUSED
            except MonitorError:  # its session at this end may be about to leave the monitor
                await deferLater(self._reactor, _ASK_SECONDS)
        return is_served(plan.qmp)


def failures(found: Found) -> list[Finding]:
    """The findings that are failures."""
    return [finding for finding in found.findings if finding.level is Level.FAILURE]


def refuse(found: Found) -> None:
    """
    End it if a finding is a failure.

    :raise NbdtunError: of the first failure's kind, with the texts of all.
    """
    if failed := failures(found):
        raise error_of(failed[0].code, "; ".join(map(str, failed)), NbdtunError, DestinationFailed)


def make_files(plan: Plan, made: Made) -> None:
    """
    Make the directories and the images of a plan; each is in ``made`` as soon as it is there.

    :raise NotMigratable: one cannot be made.
    """
    user = user_id(plan.user) if os.geteuid() == 0 and plan.user else None
    owner = (-1, -1) if user is None else (user, -1)
    for directory in missing_of(plan):
        made.directories.append(directory)
        made.note()
        try:
            make_directory(directory, owner)
        except OSError as error:
            raise NotMigratable(f"{directory} cannot be made: {error.strerror}") from None
    for image in plan.images:
        make_image(image, plan.overwrite, made.add_image)
    ours = [path.path for path in plan.paths if path.role in MADE]
    made.left += [path for path in [*ours, plan.qmp + LOG] if not os.path.lexists(path) or path == plan.qmp]
    made.note()
