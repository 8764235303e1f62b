"""
QEMUs on paper: as much of QEMU's monitor as a migration uses, without processes, threads or time that passes by itself.

They behave as QEMU 7.2 and 10.0 were seen to: the order of events, what is refused, and what ends a process. Each command can be made to
fail, to hang, or to be the last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from nbdtun.deferreds import with_timeout
from nbdtun.errors import CommandFailed, MonitorError, MonitorLost
from nbdtun.migration.qmp.life import TRANSITIONS, State, Trigger
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.qmp.schema import MANY, mismatch
from nbdtun.migration.vm.requirements import RECEIVING, SENDING
from nbdtun.ownership.reach import Credentials
from nbdtun.states import Life


class Paper(Monitor):
    """A monitor whose QEMU is this object: commands are answered by methods of their names."""

    def __init__(self, clock: Clock, name: str) -> None:
        super().__init__(clock, f"/run/{name}.qmp", name)
        self.clock = clock
        self.asked: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.hangs: set[str] = set()
        self.alive = True
        self.pid = 1  # of a process that there is
        self.more: set[str] = set()  # commands beside those that a migration needs
        self.lacks: set[str] = set()

    async def connect(self) -> None:
        """Also again: one paper is every monitor of its QEMU."""
        if self._life.state is not State.RENEWING:
            self._life = Life(TRANSITIONS)
        if not self.alive:
            self._life.advance(Trigger.FAIL)
            raise MonitorError(f"{self.path}: nobody listens there")
        self._life.advance(Trigger.CONNECT)
        self._ended = Deferred()
        self._loss = None
        self.credentials = Credentials(self.pid, 2, 3)

    async def close(self) -> None:
        if self._life.advance(Trigger.CLOSE):
            self.lose("closed")

    def lose(self, reason: str) -> None:
        super().lose(reason)
        if not self._ended.called:
            self._ended.callback(None)

    async def commands(self) -> frozenset[str]:
        return (SENDING | RECEIVING | self.more) - self.lacks

    async def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, seconds: float | None = None, urgent: bool = False
    ) -> Any:
        if self._life.state is not State.CONNECTED:
            raise self._loss or MonitorLost(f"{self.name}: not connected")
        limit = self._seconds if seconds is None else seconds
        return await with_timeout(self.clock, limit, self._answer(command, dict(arguments or {})), lambda: self._unanswered(command, limit))

    async def ask_all(self, command: str, questions: Sequence[Mapping[str, Any]]) -> list[Any]:
        answers: list[Any] = []
        for question in questions:
            try:
                answers.append(await self.execute(command, question))
            except CommandFailed:
                answers.append(None)
        return [None if mismatch(MANY.get(command), answer) else answer for answer in answers]

    def _answer(self, command: str, arguments: dict[str, Any], /) -> Deferred[Any]:
        self.asked.append(command)
        if command in self.hangs:
            return Deferred()
        answer: Deferred[Any] = Deferred()
        self.clock.callLater(0.001, self._carry_out, command, arguments, answer)
        return answer

    def _carry_out(self, command: str, arguments: dict[str, Any], answer: Deferred[Any]) -> None:
        """Also if nobody waits for the answer any more."""
        result = maybeDeferred(self._do, command, {key.replace("-", "_"): value for key, value in arguments.items()})
        if not answer.called:
            result.chainDeferred(answer)
        else:
            result.addErrback(lambda _: None)

    def _do(self, command: str, arguments: dict[str, Any]) -> Any:
        if command in self.fails:
            raise self.fails[command]
        if not self.alive:
            raise MonitorLost(f"{self.name}: QEMU closed its monitor")
        return getattr(self, command.replace("-", "_"))(**arguments)

    def refuse(self, reason: str) -> Any:
        raise CommandFailed(f"{self.name}: {reason}")

    def tell(self, name: str, **data: Any) -> None:
        """An event, after whatever is being answered just now."""
        self.clock.callLater(0, self.heard, name, data)

    def die(self) -> None:
        if self.alive:
            self.alive = False
            if self._life.state is State.CONNECTED:
                self.lose("QEMU closed its monitor; has it ended, or crashed?")


class Sheet(Paper):
    """A monitor whose answers are a table, from commands to what they return, raise, or do with their arguments; all at once."""

    def __init__(self, clock: Clock, answers: Mapping[str, Any]) -> None:
        super().__init__(clock, "web1")
        self.answers = dict(answers)
        self.arguments: dict[str, list[dict[str, Any]]] = {}
        self._life.advance(Trigger.CONNECT)

    async def execute(
        self, command: str, arguments: Mapping[str, Any] | None = None, *, seconds: float | None = None, urgent: bool = False
    ) -> Any:
        self.asked.append(command)
        self.arguments.setdefault(command, []).append(dict(arguments or {}))
        answer = self.answers.get(command, {})
        if callable(answer):
            answer = answer(**{key.replace("-", "_"): value for key, value in (arguments or {}).items()})
        if isinstance(answer, Exception):
            raise answer
        return answer
