"""Runs the reactor for one piece of work; a signal cancels the work, and does not kill it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.python.failure import Failure

from nbdtun.process import ENDING

T = TypeVar("T")


def run(reactor: IReactorCore, start: Callable[[], Deferred[T]], handlers: Mapping[int, Callable[[], object]] | None = None) -> T:
    """
    Run ``reactor`` until the work that ``start`` begins has ended; return its result.

    Signals call their ``handlers`` on the reactor; without any, those that end a process cancel the work. Twisted's own signal handling is
    off: it would stop the reactor at once. A signal that is ignored stays ignored, such as SIGHUP under nohup.

    :raise KeyboardInterrupt: the work was cancelled, and has ended.
    """
    outcome: list[T | Failure] = []
    working: list[Deferred[Any]] = []

    def begin() -> None:
        working.append(maybeDeferred(start))
        working[0].addBoth(outcome.append).addBoth(lambda _: reactor.stop())

    def cancel() -> None:
        for each in working:
            each.cancel()

    def signalled(number: int, _: object) -> None:  # at any point of any code: the rest is the reactor's
        cast("IReactorFromThreads", reactor).callFromThread(wanted[number])

    wanted: Mapping[int, Callable[[], object]] = dict.fromkeys(map(int, ENDING), cancel) if handlers is None else handlers
    reactor.callWhenRunning(begin)
    kept = {number: signal.signal(number, signalled) for number in wanted if signal.getsignal(number) != signal.SIG_IGN}
    try:
        reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]  # all reactors take it, Twisted's interface has it not
    finally:
        for number, before in kept.items():
            signal.signal(number, before)
    return _result(*outcome)


def _result(outcome: T | Failure) -> T:
    if not isinstance(outcome, Failure):
        return outcome
    if outcome.check(CancelledError):
        raise KeyboardInterrupt
    outcome.raiseException()
    raise AssertionError  # never: it has raised
