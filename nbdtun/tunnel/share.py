"""Waiting for what somebody else waits for too."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")


def share(deferred: Deferred[T]) -> Deferred[T]:
    """Return a Deferred of the caller's own with the same result; nothing is taken away from ``deferred``."""
    mine: Deferred[T] = Deferred()

    def fired(result: T | Failure) -> T | Failure:
        mine.callback(result)
        return result

    deferred.addBoth(fired)
    return mine
