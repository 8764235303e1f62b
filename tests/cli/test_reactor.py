"""A reactor for one piece of work: what it returns, and what signals do to it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from nbdtun.cli.reactor import run
from nbdtun.errors import NotMigratable
from nbdtun.process import ENDING
from tests.cli.stage import FakeReactor, interrupts


def test_it_returns_what_the_work_does() -> None:
    assert run(FakeReactor(), lambda: succeed(5)) == 5
    with pytest.raises(NotMigratable, match="no"):
        run(FakeReactor(), lambda: fail(NotMigratable("no")))


@pytest.mark.parametrize("number", sorted(ENDING))
def test_a_signal_cancels_it_and_it_comes_to_its_own_end(number: int) -> None:
    steps: list[str] = []

    def tidy(failure: Any) -> Any:
        failure.trap(CancelledError)
        steps.append("tidied up")
        return failure

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        run(FakeReactor(interrupts(number)), lambda: Deferred().addErrback(tidy))
    assert steps == ["tidied up"]
    assert signal.getsignal(number) == before


def test_who_wants_to_decide_is_called_instead() -> None:
    working: Deferred[int] = Deferred()
    heard: list[str] = []
    script = (interrupts(signal.SIGINT), interrupts(signal.SIGTSTP), interrupts(signal.SIGINT), lambda: working.callback(3))
    handlers: dict[int, Callable[[], object]] = {
        signal.SIGINT: lambda: heard.append("Ctrl-C"),
        signal.SIGTSTP: lambda: heard.append("Ctrl-Z"),
    }
    assert run(FakeReactor(*script), lambda: working, handlers) == 3
    assert heard == ["Ctrl-C", "Ctrl-Z", "Ctrl-C"]
    assert signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL


def test_nohup_stays_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        working: Deferred[int] = Deferred()
        assert run(FakeReactor(interrupts(signal.SIGHUP), lambda: working.callback(3)), lambda: working) == 3
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
