"""Ingresses: each is closed once, early or at the end."""

from __future__ import annotations

from typing import Any

import pytest
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


MEMORY, DISKS, STOP = "close the ram socket", "close the nbd socket", "stop the migration of the memory"


@pytest.mark.parametrize(
    ("switching", "several", "order"),
    [(False, False, [DISKS]), (True, False, [DISKS, MEMORY]), (False, True, [STOP, DISKS, MEMORY]), (True, True, [DISKS, MEMORY])],
)
def test_those_in_which_qemu_may_wait_are_closed_first(switching: bool, several: bool, order: list[str]) -> None:
    """QEMU hears of several connections' end before they are closed, unless it may be deaf to its monitor already."""
    carrier, monitor, clock = Doors(), Any, Clock()
    undo = UndoStack(clock, 1.0)
    Ingresses(carrier, UndoStack(clock, 1.0)).shut_first(undo, monitor, switching=switching, several=several)  # type: ignore[arg-type]
    assert repr(undo) == f"<UndoStack {', '.join(reversed(order))}>"
