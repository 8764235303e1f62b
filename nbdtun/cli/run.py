"""A reactor for one piece of work, which Ctrl-C and SIGTERM cancel and do not tear off."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure

from nbdtun.process import ENDING

T = TypeVar("T")


def run(reactor: Any, start: Callable[[], Deferred[T]]) -> T:
    """
    Run ``reactor`` until the work that ``start`` begins has ended; what it returns.

    :raise KeyboardInterrupt: a signal came; the work was cancelled and has come to its end.
    """
    outcome: list[T | Failure] = []
    working: list[Deferred[Any]] = []

    def begin() -> None:
        working.append(maybeDeferred(start))
        working[0].addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    def cancel() -> None:
        for each in working:
            each.cancel()

    def interrupt(*_: object) -> None:
        reactor.callFromThread(cancel)

    reactor.callWhenRunning(begin)
    kept = {number: signal.signal(number, interrupt) for number in ENDING if signal.getsignal(number) != signal.SIG_IGN}
    try:
        reactor.run(installSignalHandlers=False)
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
    (result,) = outcome
    if not isinstance(result, Failure):
        return result
    if result.check(CancelledError):
        raise KeyboardInterrupt
    result.raiseException()
    raise AssertionError  # never: it has raised
