"""What a killed migration has left: its journal, in a QEMU on paper."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.protocols import amp

from nbdtun.errors import NbdtunError, NoAnswer
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import Settle
from nbdtun.migration.ids import JOURNAL, block_name
from nbdtun.migration.rollback.journal import End, Entry
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.recovery import Recovery
from tests.migration.stage.paper_qemu import PaperQemu
from tests.migration.stage.talk import SESSION

BEFORE: dict[str, Any] = {"capabilities": {"events": False, "pause-before-switchover": False}, "parameters": {"max-bandwidth": 128 << 20}}


def entry(end: End = End.SOURCE, **changes: Any) -> Entry:
    """A journal of one that was to go on running, and had done nothing yet."""
    wanted: dict[str, Any] = {"session": SESSION, "pid": 7, "runs": True} | changes
    return Entry(end=end, **wanted)


class Answer(Control):
    """A control channel whose other end has one answer to everything, or none."""

    def __init__(self, outcome: str | NbdtunError | None, clock: Clock | None = None) -> None:
        super().__init__(clock or Clock())
        self.clock = clock or Clock()
        self.outcome = outcome
        self.asked: list[dict[str, Any]] = []
        self.hung_up = False

    async def ask(self, command: Any, *, seconds: float | None, **arguments: Any) -> dict[str, Any]:
        self.asked.append(arguments)
        if isinstance(self.outcome, NbdtunError):
            raise self.outcome
        if self.outcome is None:
            await deferLater(self.clock, seconds or 0.0)
            raise NoAnswer(f"the destination has not answered for {seconds:g} s")
        box = amp.AmpBox({b"outcome": self.outcome.encode(), b"reason": b"the guest has crashed"})
        answer: dict[str, Any] = Settle.parseResponse(box, None)
        return answer

    def hang_up(self) -> None:
        self.hung_up = True


class Scene:
    """The source's QEMU, 100 s after ours was begun; also the Carrier."""

    def __init__(self, state: str = "running", status: str = "", outcome: str | NbdtunError = "arrived", **left: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.qemu = PaperQemu(self.clock, "web1", state=state)
        self.qemu.ran_before = True
        Deferred.fromCoroutine(self.qemu.connect())
        if status:
            self.qemu.migration, self.qemu.began = {"status": status}, 900.0
            self.qemu.ended = 960.0 if status == "completed" else None
        self.left = entry(**left)
        self.qemu.objects[JOURNAL] = self.left.text()
        self.answer = Answer(outcome)

    async def control(self, protocol: Any) -> Any:
        return self.answer

    def let_go_on(self) -> None:
        """An operator does so (`cont`) while the destination is asked, in vain."""

        async def ask(*words: Any, **more: Any) -> Any:
            self.qemu.state = "running"
            raise NoAnswer("no connection")

        self.answer.ask = ask  # type: ignore[method-assign]

    def mirror(self) -> None:
        name = block_name(SESSION, 0)
        self.qemu.nodes[name] = 0
        self.qemu.jobs[name] = {"device": name, "id": name, "len": 1, "offset": 0, "ready": True}

    def tune(self) -> None:
        self.qemu.capabilities |= {"events": True, "pause-before-switchover": True}
        self.qemu.parameters["max-bandwidth"] = 5

    def recover(self, **settings: Any) -> tuple[Deferred[Any], list[Any]]:
        """Let five seconds pass; returns the recovery, and its result once it has one."""
        carrier: Any = self
        recovery = Recovery(self.clock, self.qemu, carrier, MigrationSettings(vm="web1", **settings), self.clock.seconds)
        got: list[Any] = []
        recovering = Deferred.fromCoroutine(recovery.run()).addCallbacks(got.append, lambda failure: got.append(failure.value))
        self.clock.pump([0.05] * 100)
        return recovering, got

    def settle(self, **settings: Any) -> Any:
        return self.recover(**settings)[1][0]

    def is_clean(self) -> bool:
        assert self.qemu.parameters["max-bandwidth"] == 128 << 20
        return not (self.qemu.objects or self.qemu.jobs or set(self.qemu.nodes) - {"vda"} or any(self.qemu.capabilities.values()))


SENDING: dict[str, Any] = {"began": 900.0} | BEFORE
SWITCHING: dict[str, Any] = {"switched": 950.0} | SENDING
HANDED: dict[str, Any] = {"handed_over": True} | SWITCHING
