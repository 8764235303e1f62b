"""A reactor for one piece of work, and what a signal does to it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed

from nbdtun.cli.run import run as run_reactor
from nbdtun.errors import NotMigratable


class Reactor:
    """Runs what it was told to, until it is stopped; a signal may come meanwhile."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.begin: Callable[[], object] = lambda: None
        self.stopped = False

    def callWhenRunning(self, begin: Callable[[], object]) -> None:
        self.begin = begin

    def callFromThread(self, act: Callable[[], object]) -> None:
        act()

    def run(self, installSignalHandlers: bool) -> None:
        assert not installSignalHandlers
        self.begin()
        if not self.stopped:
            self.meanwhile()
        assert self.stopped

    def stop(self) -> None:
        self.stopped = True


def test_a_reactor_for_one_piece_of_work() -> None:
    assert run_reactor(Reactor(), lambda: succeed(5)) == 5
    with pytest.raises(NotMigratable, match="no"):
        run_reactor(Reactor(), lambda: fail(NotMigratable("no")))


def test_a_signal_cancels_it_and_it_comes_to_its_own_end() -> None:
    steps: list[str] = []

    def tidy(failure: Any) -> Any:
        failure.trap(CancelledError)
        steps.append("tidied up")
        return failure

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        run_reactor(Reactor(lambda: signal.raise_signal(signal.SIGTERM)), lambda: Deferred().addErrback(tidy))
    assert steps == ["tidied up"]
    assert signal.getsignal(signal.SIGTERM) is before
