"""
The brake: it holds back what the local programs of one socket send, to the byte.

All channels of the socket share one allowance, in this process. Where it is used up they read no more, and their programs wait in
``write(2)``. Their other direction goes on.
"""

from __future__ import annotations

from nbdtun.tunnel.runtime.throttle import Throttle, Waiter


class Brake:
    """Behind it, the channels of one socket wait for ``throttle`` as all others do. It is off at first."""

    def __init__(self, throttle: Throttle) -> None:
        self._throttle = throttle
        self._left: int | None = None
        self._waiting: dict[Waiter, None] = {}

    def __repr__(self) -> str:
        return f"<Brake {'off' if self._left is None else self._left}, {len(self._waiting)} waiting>"

    @property
    def limited(self) -> bool:
        """Whether a channel must ask before it reads."""
        return self._left is not None or self._throttle.limited

    @property
    def alone(self) -> bool:
        """Whether it counts in this process alone: while it is on."""
        return self._left is not None

    @property
    def left(self) -> int | None:
        """How many bytes may still be read; None while it is off."""
        return self._left

    def allow(self, count: int | None) -> None:
        """Let the channels read ``count`` bytes from now on, whatever is left of the last allowance; None takes the brake off."""
        self._left = count
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            waiter.allowed()

    def grant(self, waiter: Waiter) -> int:
        """Return how many bytes ``waiter`` may read now; after 0, its ``allowed`` is called later. It must be :attr:`limited`."""
        if self._left is not None and self._left <= 0:
            self._waiting[waiter] = None
            return 0
        granted = self._throttle.grant(waiter) if self._throttle.limited else self._left
        assert granted is not None
        return granted if self._left is None else min(granted, self._left)

    def spent(self, count: int) -> None:
        """``count`` of the granted bytes were read."""
        if self._left is not None:
            self._left -= count
        self._throttle.spent(count)

    def forget(self, waiter: Waiter) -> None:
        """``waiter`` no longer waits."""
        self._waiting.pop(waiter, None)
        self._throttle.forget(waiter)
