"""Two ends of a control channel that talk to each other in one process."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.protocols import amp
from twisted.test.iosim import FakeTransport, connect

from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import Abort, Finish, Prepare, Trouble
from nbdtun.versions import Agreed

SESSION = "0123456789abcdef" * 2


class Echo(Control):
    """Answers Abort and Finish with whatever it is told to do."""

    other = "the source"
    here = "at the destination"

    def __init__(self, then: Any = None) -> None:
        super().__init__(Clock())
        self.then = then
        self.got: list[Any] = []

    @Abort.responder
    def abort(self, session: str, secret: bytes | None) -> Any:
        return self._answer(session, {"state": "aborted"})

    @Finish.responder
    def finish(self, session: str, secret: bytes | None, run: bool, settle: int) -> Any:
        return self._answer(session, {})

    def _answer(self, session: str, answer: dict[str, str]) -> Any:
        self.got.append(session)
        if isinstance(self.then, amp.RemoteAmpError):
            raise self.then

        async def work() -> dict[str, str]:
            if isinstance(self.then, BaseException):
                raise self.then
            if isinstance(self.then, Deferred):
                await self.then
            return answer

        return self.respond(work)

    @Trouble.responder
    def trouble(self, session: str, code: str, reason: str) -> dict[str, Any]:
        self.got.append((code, reason))
        return {}

    @Prepare.responder
    def prepare(self, **arguments: Any) -> dict[str, Any]:
        self.got.append(arguments)
        return {**Agreed(1).fields(), "target": "t", "findings": [], "qemu": None}


class Pair:
    def __init__(self, server: Control) -> None:
        self.clock = Clock()
        self.server, self.client = server, Control(self.clock)
        self.ends = FakeTransport(server, isServer=True), FakeTransport(self.client, isServer=False)
        self.pump = connect(server, self.ends[0], self.client, self.ends[1])

    def ask(self, command: Any, **arguments: Any) -> Any:
        got: list[Any] = []
        asking = Deferred.fromCoroutine(self.client.ask(command, seconds=10, **arguments))
        asking.addCallbacks(got.append, lambda failure: got.append(failure.value))
        self.pump.flush()
        return got[0] if got else "waits"
