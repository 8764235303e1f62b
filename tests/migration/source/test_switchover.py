"""The order of what happens while the guest stands still."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater

from nbdtun.errors import MemoryFailed, MirrorFailed, MonitorError, NotMigratable
from nbdtun.migration.progress import LinkState, Pause
from nbdtun.migration.source.switchover import Switchover


class Moment:
    """Everything that a switchover deals with; each thing it is told to do takes a second."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.did: list[str] = []
        self.fails: dict[str, Exception] = {}
        self.runs, self.stopped_at = True, 0.0
        self.link = LinkState()
        one: Any = self
        self.switchover = Switchover(self.clock, one, one, one, one, one, one, 30.0)

    async def _do(self, what: str, seconds: float = 1.0) -> None:
        self.did.append(f"{what}...")
        await deferLater(self.clock, seconds)
        self.did.append(what)
        if what in self.fails:
            raise self.fails[what]

    async def drain(self, seconds: float | None) -> None:
        await self._do("drain")

    async def look(self) -> None:
        await self._do("look", 0.5)

    async def switchover_begins(self, runs: bool) -> None:
        await self._do("switchover begins", 0.1)

    async def proceed(self, seconds: float | None) -> None:
        await self._do("proceed")

    async def note(self, handed_over: bool) -> None:
        await self._do("handed over")

    async def remove(self) -> None:
        await self._do("remove", 5)

    async def drained(self) -> None:
        await self._do("memory arrives", 2)

    def leaves(self) -> None:
        """The guest's."""

    def run(self, work: Any, seconds: float = 60) -> Any:
        got: list[Any] = []
        Deferred.fromCoroutine(work).addCallbacks(got.append, lambda failure: got.append(failure.value))
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            if got:
                return got[0]
        return "waits"


def test_the_machine_is_looked_at_while_its_disks_are_drained() -> None:
    moment = Moment()
    assert moment.run(moment.switchover.drain(moment.look())) is None
    assert moment.did == ["drain...", "look...", "look", "drain"]


@pytest.mark.parametrize("what", ["drain", "look"])
def test_either_of_them_ends_it(what: str) -> None:
    moment = Moment()
    moment.fails = {what: MirrorFailed("no") if what == "drain" else NotMigratable("changed")}
    assert moment.run(moment.switchover.drain(moment.look())) is moment.fails[what]


def test_the_entry_goes_ahead_and_the_nodes_behind() -> None:
    moment = Moment()
    assert moment.run(moment.switchover.send()) is None
    assert moment.did[:5] == ["switchover begins...", "proceed...", "remove...", "switchover begins", "proceed"]
    assert moment.did[5:7] == ["handed over...", "memory arrives..."]
    assert moment.did[7:] == ["handed over", "memory arrives"]  # nobody waits for the nodes


def test_it_is_over_only_when_the_handover_is_recorded() -> None:
    moment = Moment()
    moment.fails["handed over"] = MonitorError("QEMU did not answer")
    assert moment.run(moment.switchover.send()) is moment.fails["handed over"]


def test_nodes_that_stay_are_no_reason_to_fail() -> None:
    moment = Moment()
    moment.fails["remove"] = MonitorError("QEMU did not answer")
    assert moment.run(moment.switchover.send()) is None
    moment.clock.advance(10)


def test_memory_that_does_not_arrive() -> None:
    moment = Moment()
    never: Deferred[None] = Deferred()

    async def drained() -> None:
        await never

    moment.drained = drained  # type: ignore[method-assign]
    error = moment.run(moment.switchover.send())
    assert isinstance(error, MemoryFailed)
    assert str(error) == "the memory did not arrive within 30 s"


def test_the_word_is_not_given_into_a_lost_link() -> None:
    moment = Moment()
    moment.link = LinkState(lost_for=1.0)
    sending = moment.switchover.send()
    got: list[Any] = []
    Deferred.fromCoroutine(sending).addCallback(got.append)
    moment.clock.pump([0.1] * 200)
    assert "memory arrives" in moment.did
    assert not got
    moment.link = LinkState()
    moment.clock.advance(0.1)
    assert got == [None]


def test_the_guests_pause_has_three_parts() -> None:
    moment = Moment()
    moment.run(moment.switchover.drain(moment.look()))
    moment.run(moment.switchover.send())
    moment.clock.advance(0.5)
    pause = moment.switchover.pause(0.002)
    assert pause is not None
    assert pause.as_json() == pytest.approx({"drain": 1000, "memory": 3000, "handover": 500, "round_trip": 2}, abs=300)


def test_a_guest_that_did_not_run_has_none() -> None:
    moment = Moment()
    moment.stopped_at = None  # type: ignore[assignment]
    assert moment.switchover.pause() is None
    assert Pause(1, 2, 3).seconds == 6
    assert repr(moment.switchover).startswith("<Switchover of ")
