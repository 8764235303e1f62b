"""A source that asks a destination's daemon what a test wants, in whatever order."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import MIGRATION, Ping, Prepare
from tests.migration.stage.machines import HARDWARE
from tests.migration.stage.stage import Stage
from tests.migration.stage.talk import SESSION

OTHER = "f" * 32


class Client(Control):
    """A source that says what it is told to, and is there when asked, unless ``deaf``."""

    deaf = False

    @Ping.responder
    def ping(self) -> Any:
        return Deferred() if self.deaf else {}


class Talk:
    """With the daemon of a stage."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.client = self.connect()

    def connect(self) -> Client:
        got: list[Client] = []
        Deferred.fromCoroutine(self.stage.control(Client(self.stage.clock))).addCallback(got.append)
        return got[0]

    def ask(self, command: Any, client: Client | None = None, seconds: float = 1, **arguments: Any) -> Any:
        got: list[Any] = []
        asking = Deferred.fromCoroutine(
            (client or self.client).ask(command, seconds=None, **({} if command is Ping else {"session": SESSION}) | arguments)
        )
        asking.addCallbacks(got.append, lambda failure: got.append(failure.value))
        self.stage.turn(seconds)
        return got[0] if got else "waits"

    def prepare(self, client: Client | None = None, seconds: float = 1, **changed: Any) -> Any:
        arguments = {**MIGRATION.offer(), "vm": "web1", "hardware": HARDWARE, "disks": [], "bitmaps": [], "allowed": []}
        answer = self.ask(Prepare, client, seconds, **(arguments | changed))
        return answer["target"] if isinstance(answer, dict) else answer
