"""Ingresses: each is closed once, early or at the end."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.source.ingresses import Ingresses


class Door:
    """An ingress that counts how often it is closed."""

    def __init__(self) -> None:
        self.closed = 0

    async def close(self) -> None:
        self.closed += 1


class Doors:
    """A carrier of doors."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bool]] = []

    async def enter(self, target: str, name: str, *, urgent: bool, farewell: Any, secret: bytes) -> Door:
        self.asked.append((target, name, urgent))
        return Door()


def done(work: Any) -> Any:
    got: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(got.append)
    return got[0]


def test_each_is_closed_once() -> None:
    carrier: Any = Doors()
    tidy = UndoStack(Clock(), 1.0)
    ingresses = Ingresses(carrier, tidy)
    assert repr(ingresses) == "<Ingresses none>"
    disks, memory = done(ingresses.enter("nbd.x", "nbd")), done(ingresses.enter("ram.x", "ram", urgent=True))
    assert carrier.asked == [("nbd.x", "nbd", False), ("ram.x", "ram", True)]
    assert repr(ingresses) == "<Ingresses nbd, ram>"
    done(ingresses.shut("nbd"))
    done(tidy.unwind())
    assert (disks.closed, memory.closed) == (1, 1)
