"""A session of a destination by itself, with its QEMU on paper."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import NbdtunError
from nbdtun.migration.destination.session import Session
from nbdtun.migration.settings import StepTimeouts
from nbdtun.migration.vm.bitmaps import Awaited
from nbdtun.migration.vm.disks import Disk
from tests.migration.stage.machines import wanted
from tests.migration.stage.paper_qemu import PaperQemu
from tests.migration.stage.talk import SESSION

VDA = Disk("x", "", "vda-dev", 1 << 20)


class Room:
    """A session of one QEMU on paper; also its Egress."""

    directory = "/run/egress"

    def __init__(self) -> None:
        self.clock = Clock()
        self.qemu = PaperQemu(self.clock, "web1 at the destination", state="inmigrate")
        self.admitted: dict[str, str] = {}
        self.closed = 0
        self.asked_then: int | None = None  # how many commands, when the channels were ended
        self.told: list[NbdtunError] = []
        self.session = Session(self.clock, SESSION, self.qemu, lambda ident, owner: self, self.told.append, StepTimeouts())

    def tie(self, bond: object) -> None:
        """Of the one source that there is."""

    def admit(self, target: str, path: str) -> None:
        self.admitted[target] = path

    async def dismiss(self) -> None:
        self.admitted.clear()
        self.asked_then = len(self.qemu.asked)

    async def close(self) -> None:
        self.closed += 1

    def do(self, work: Any, seconds: float = 0.5) -> Any:
        got: list[Any] = []
        Deferred.fromCoroutine(work).addCallbacks(got.append, lambda failure: got.append(failure.value))
        self.wait(seconds)
        return got[0] if got else "waits"

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.005)):
            self.clock.advance(0.005)

    def prepare(self, disk: Disk = VDA) -> Any:
        answer = self.do(self.session.prepare(wanted(disk)))
        return answer[0] if isinstance(answer, tuple) else answer

    def listen(self) -> Any:
        answer = self.do(self.session.listen())
        return answer.target if isinstance(answer, Awaited) else answer

    def is_clean(self) -> bool:
        return not (self.qemu.exports or self.qemu.serving or any(self.qemu.capabilities.values())) and self.closed == 1


def prepared() -> Room:
    room = Room()
    room.prepare()
    return room


def ready() -> Room:
    room = prepared()
    room.listen()
    return room
