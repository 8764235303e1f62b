"""
Deferreds: waits with a time limit, for several results, shielded from cancellation, or shared with other waiters.

Twisted's ``cancel`` reaches the innermost Deferred that a coroutine waits for. That is right for the steps of a migration. It is wrong for
their undo, which must always run to its end; :func:`shield` protects it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")


def with_timeout(clock: IReactorTime, seconds: float | None, waiting: Deferred[T], late: Callable[[], Exception]) -> Deferred[T]:
    """Cancel ``waiting`` after ``seconds`` (None: never), and fail with the error that ``late`` returns; returns ``waiting`` itself."""

    def expired(result: object, _: float) -> object:
        if isinstance(result, Failure) and isinstance(result.value, CancelledError):
            raise late()
        return result

    if seconds is not None:
        waiting.addTimeout(seconds, clock, expired)
    return waiting


async def gather(waiting: Iterable[Deferred[T]]) -> list[T]:
    """Wait for all in parallel. On the first failure, or when cancelled, cancel the others and raise at once."""
    deferreds = list(waiting)
    gathered = gatherResults(deferreds, consumeErrors=True)
    ours = branch(gathered)
    gathered.addErrback(lambda _: None)
    try:
        return await ours
    except BaseException as error:
        for deferred in deferreds:
            deferred.cancel()
        if isinstance(error, FirstError):
            raise _reason(error.subFailure) from None
        raise


async def together(*work: Coroutine[Any, Any, object]) -> None:
    """Do all of ``work`` in parallel, begun in this order; see :func:`gather`."""
    await gather(Deferred.fromCoroutine(each) for each in work)


async def shield(work: Deferred[T], on_cancel: Callable[[], object]) -> T:
    """Wait until ``work`` ends by itself. Cancelling this wait only calls ``on_cancel``."""
    outcome: list[T | Failure] = []
    bell: Deferred[None] = Deferred()

    def ended(result: T | Failure) -> None:
        outcome.append(result)
        bell.callback(None)

    work.addBoth(ended)
    while not outcome:
        try:
            await bell
        except CancelledError:
            bell = Deferred()
            on_cancel()
    if isinstance(outcome[0], Failure):
        raise _reason(outcome[0])
    return outcome[0]


def _reason(failure: Failure) -> BaseException:
    return failure.value if isinstance(failure.value, BaseException) else RuntimeError(str(failure))


def branch(deferred: Deferred[T]) -> Deferred[T]:
    """Return a Deferred of the caller's own with the same result; ``deferred`` keeps its result."""
    mine: Deferred[T] = Deferred()

    def fired(result: T | Failure) -> T | Failure:
        mine.callback(result)
        return result

    deferred.addBoth(fired)
    return mine


def end_of(deferred: Deferred[Any]) -> Deferred[None]:
    """Return a Deferred of the caller's own that fires when ``deferred`` has any result; it fails only when it is cancelled itself."""
    mine: Deferred[None] = Deferred()

    def fired(result: Any) -> Any:
        mine.callback(None)
        return result

    deferred.addBoth(fired)
    return mine


async def stopped(port: IListeningPort) -> None:
    """Stop listening on ``port``, and wait until that is done. A port that stops at once may return None."""
    stopping = port.stopListening()
    if stopping is not None:
        await stopping
