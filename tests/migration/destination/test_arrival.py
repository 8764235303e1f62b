"""What is done at the destination before the source hands over."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import MemoryFailed, NbdtunError, NotMigratable
from nbdtun.migration.destination.arrival import Arrival


class Scene:
    """The memory arrives when a test says so; a client of the disks leaves then, or stays."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.did: list[str] = []
        self.memory: Deferred[None] = Deferred()
        self.client: Deferred[None] = Deferred()
        self.wrong: NbdtunError | None = None
        self.failed: list[NbdtunError] = []
        one: Any = self
        self.arrival = Arrival(self.clock, one, one, one)

    async def completed(self) -> None:
        await self.memory
        self.did.append("arrived")

    async def check(self) -> None:
        self.did.append("checked")
        if self.wrong is not None:
            raise self.wrong

    def end(self) -> None:
        self.did.append("watched no longer")

    async def retire(self) -> None:
        await self.client
        self.did.append("retired")

    def hurry(self) -> None:
        self.did.append("hurry")

    def over(self, seconds: float = 30) -> list[Any]:
        got: list[Any] = []
        Deferred.fromCoroutine(self.arrival.over(seconds)).addCallbacks(got.append, lambda failure: got.append(failure.value))
        return got


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.arrival.begin(scene.failed.append)
    return scene


def test_all_is_done_before_anybody_asks(scene: Scene) -> None:
    scene.memory.callback(None)
    scene.client.callback(None)
    assert scene.did == ["arrived", "checked", "watched no longer", "retired"]
    assert scene.over() == [None]
    assert scene.failed == []


def test_who_asks_earlier_waits_and_hurries_the_clients(scene: Scene) -> None:
    got = scene.over()
    assert scene.did == ["hurry"]
    scene.memory.callback(None)
    scene.client.callback(None)
    assert got == [None]


def test_a_machine_that_has_changed_is_told_at_once_and_who_asks_hears_it(scene: Scene) -> None:
    scene.wrong = NotMigratable("web1: the machine has changed")
    scene.memory.callback(None)
    assert scene.failed == [scene.wrong]
    assert scene.over() == [scene.wrong]
    assert "retired" not in scene.did


def test_memory_that_fails_is_for_its_source_to_tell(scene: Scene) -> None:
    wrong = MemoryFailed("load of migration failed")
    scene.memory.errback(wrong)
    assert scene.failed == []
    assert scene.over() == [wrong]


def test_memory_that_does_not_arrive_in_time(scene: Scene) -> None:
    got = scene.over(30)
    scene.clock.advance(29)
    assert not got
    scene.clock.advance(13)  # a client's handshake may last 12 s
    assert isinstance(got[0], MemoryFailed)
    assert str(got[0]) == "not all of the memory and the devices have arrived within 30 s"


def test_it_is_cancelled_without_a_word(scene: Scene) -> None:
    scene.arrival.cancel()
    scene.arrival.cancel()
    assert scene.failed == []
    assert repr(scene.arrival) == "<Arrival, over>"
