"""What is asked of the processes that run here: by name, by number, of all; and of one that does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import deferLater

from nbdtun.errors import ConfigError, MigrationError, NoAnswer, TooLate
from nbdtun.process import Reactor
from nbdtun.service.control.client import ask, nothing, reports
from nbdtun.service.control.socket import Cancel, Set
from tests.service.control.stage import Controllable, opened


class Stopped(Controllable):
    """One whose process was stopped, or whose QEMU hangs."""

    async def change(self, bandwidth: int | None, downtime: int | None) -> None:
        await super().change(bandwidth, downtime)
        await Deferred()


@pytest_twisted.ensureDeferred
async def test_errors_arrive_as_what_they_are(base: Path) -> None:
    subject = Controllable()
    subject.late = True
    control = await opened(base, subject)
    with pytest.raises(TooLate, match="web1: too late"):
        await ask(reactor, base, "web1", Cancel)
    await control.close()


@pytest_twisted.ensureDeferred
async def test_a_daemon_is_named_by_its_process(base: Path) -> None:
    daemon = Controllable("@4711")
    control = await opened(base, daemon)
    assert await ask(reactor, base, "4711") == daemon.report()
    assert await reports(reactor, base) == [daemon.report()]
    await control.close()


@pytest_twisted.ensureDeferred
async def test_nobody_of_that_name(base: Path) -> None:
    assert nothing(base) == f"no migration or daemon is running here ({base}/control)"
    assert await reports(reactor, base) == []
    with pytest.raises(ConfigError) as caught:
        await ask(reactor, base, "web1")
    assert str(caught.value) == f"web1: no such migration or daemon is running here ({base}/control); `nbdtun status` lists them"


@pytest.mark.parametrize("name", ["../web1", "", "@", "a/b"])
@pytest_twisted.ensureDeferred
async def test_a_name_leads_nowhere_else(name: str, base: Path) -> None:
    with pytest.raises(ConfigError, match="is not a valid name"):
        await ask(reactor, base, name)


@pytest_twisted.ensureDeferred
async def test_who_has_asked_hangs_up(base: Path) -> None:
    control = await opened(base, Controllable())
    await ask(reactor, base, "web1")
    end = reactor.seconds() + 5
    while "0 clients" not in repr(control) and reactor.seconds() < end:
        await deferLater(reactor, 0.01)
    assert "0 clients" in repr(control)
    await control.close()


@pytest_twisted.ensureDeferred
async def test_one_that_does_not_answer_is_not_waited_for(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.service.control.client.ANSWER_SECONDS", 0.1)
    control = await opened(base, Stopped())
    with pytest.raises(NoAnswer, match=r"web1: its process has not answered for 0.1 s; is it stopped\?"):
        await ask(reactor, base, "web1", Set, bandwidth=1)
    await control.close()


@pytest_twisted.ensureDeferred
async def test_one_that_ends_meanwhile_has_no_answer(base: Path) -> None:
    subject = Stopped()
    control = await opened(base, subject)
    answers: list[Any] = []
    asking: Deferred[Any] = ensureDeferred(ask(reactor, base, "web1", Set, bandwidth=1))
    asking.addErrback(lambda failure: answers.append(failure.value))
    while not subject.changes:
        await deferLater(reactor, 0.01)
    await control.close()
    await asking
    assert [str(answer) for answer in answers] == ["web1: its process ended without answering"]


@pytest_twisted.ensureDeferred
async def test_one_that_does_not_answer_does_not_hide_the_others(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web2 = Controllable("web2")
    first, other = await opened(base, Controllable()), await opened(base, web2)

    async def silent(reactor: Reactor, base: Path, name: str) -> dict[str, Any]:
        if name == "web1":
            raise MigrationError("web1: its process has not answered")
        return await ask(reactor, base, name)

    monkeypatch.setattr("nbdtun.service.control.client.ask", silent)
    found = await reports(reactor, base)
    assert found == [{"name": "web1", "error": "web1: its process has not answered"}, web2.report()]
    await first.close()
    await other.close()
