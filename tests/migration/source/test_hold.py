"""The hold: how far the memory goes before the moment, whatever its pages are, and what ends it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import MemoryFailed
from nbdtun.migration.progress import LinkState, Phase
from nbdtun.migration.settings import HOLD
from nbdtun.migration.source.hold import AGAIN_SECONDS, BUFFERS, LEAST, PAGE, PAGE_BYTES, Hold, on_the_way
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.supervision.moment import Moment

MIB = 1 << 20
SOCKET = int(Path("/proc/sys/net/core/wmem_default").read_text())
#: So many bytes of memory are the least that may be left, by what can be in buffers.
ROOM = (SOCKET + BUFFERS) // PAGE_BYTES * PAGE


class Sending:
    """A QEMU that sends its memory into buffers as large as can be, and beyond them what is read; also its ingress and its Outgoing."""

    def __init__(self, memory: int, sizes: list[int], at: float = HOLD) -> None:
        self.clock = Clock()
        self.pages, self.sizes, self.read, self.sent = memory // PAGE, sizes, 0, 0
        self.allowance: int | None = None
        self.begun = False
        self.stopped: Deferred[None] = Deferred()
        self.phases: list[Phase] = []
        meter = Meter(self.clock, lambda progress: self.phases.append(progress.phase), LinkState)
        meter.expect_memory(memory)
        self.moment = Moment(self.clock, at, self.clock.seconds)
        this: Any = self
        self.hold = Hold(self.clock, this, self.moment, meter, 0)
        self.name = "web1"
        self.work = Deferred.fromCoroutine(self._run(meter))

    async def _run(self, meter: Meter) -> None:
        this: Any = self
        await self.hold.before()
        meter.enter(Phase.RAM)
        await self.hold.start(this, this)
        await self.hold.until_paused(this, this)

    async def start(self, ingress: object) -> None:
        self.begun = True
        self._go_on()

    async def paused(self) -> None:
        await self.stopped

    def allow(self, count: int | None) -> None:
        self.allowance = count

    async def execute(self, command: str, seconds: float | None = None) -> Any:
        assert command == "query-migrate"
        ram = {"transferred": self.sent, "remaining": self.pages * PAGE, "dirty-sync-count": 1, "page-size": PAGE}
        return {"status": "active", "ram": ram}

    def _go_on(self) -> None:
        """Send pages until all buffers are full; the end of the pass ends it."""
        while self.pages and self.sent - self.read < SOCKET + BUFFERS:
            self.pages -= 1
            self.sent += self.sizes[self.pages % len(self.sizes)]
        if not self.pages and not self.stopped.called:
            self.stopped.callback(None)

    def turn(self, seconds: float) -> None:
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end and not self.work.called:
            there = self.sent - self.read
            count = there if self.allowance is None else min(there, self.allowance)
            self.read += count
            if self.allowance is not None:
                self.allowance -= count
            if self.begun:
                self._go_on()
            self.clock.advance(AGAIN_SECONDS / 2)


@given(st.lists(st.sampled_from([PAGE_BYTES, 9, PAGE + 8]), min_size=1, max_size=7), st.integers(1, 400))
def test_it_never_ends_its_pass_before_the_moment(sizes: list[int], more: int) -> None:
    """Whatever its pages are: empty ones, which take hardly a byte, or full ones."""
    qemu = Sending(ROOM + LEAST // PAGE_BYTES * PAGE + more * MIB, sizes)
    qemu.turn(20)
    assert not qemu.work.called
    assert qemu.pages
    before = qemu.pages
    if qemu.phases[-1] is Phase.HOLDING:
        qemu.turn(100 * AGAIN_SECONDS)
        assert qemu.pages == before
    qemu.moment.choose(0.0)
    qemu.turn(1000)
    assert qemu.work.called
    assert qemu.allowance is None
    assert qemu.clock.getDelayedCalls() == []


def test_it_goes_as_far_as_it_can() -> None:
    qemu = Sending(512 * MIB, [PAGE + 8])
    qemu.turn(60)
    assert qemu.phases[-1] is Phase.HOLDING
    assert qemu.pages * PAGE < ROOM + LEAST // PAGE_BYTES * PAGE
    qemu.moment.choose(0.0)
    assert qemu.phases[-1:] == [Phase.RAM]
    qemu.turn(100)
    assert qemu.work.called


def test_a_small_one_is_held_before_its_memory_is_sent() -> None:
    qemu = Sending(128 * MIB, [9])
    qemu.turn(10)
    assert qemu.phases == [Phase.HOLDING]
    assert not qemu.begun
    qemu.moment.choose(0.0)
    qemu.turn(100)
    assert qemu.work.called


def test_one_that_is_not_held_is_never_held_back() -> None:
    qemu = Sending(1024 * MIB, [9], at=0.0)
    assert qemu.allowance is None
    qemu.turn(1000)
    assert qemu.work.called
    assert Phase.HOLDING not in qemu.phases


def test_a_word_while_it_is_on_its_way() -> None:
    qemu = Sending(512 * MIB, [PAGE + 8])
    qemu.turn(1)
    assert qemu.phases == [Phase.RAM]
    qemu.moment.choose(0.0)
    qemu.turn(AGAIN_SECONDS * 2)
    assert qemu.allowance is None
    assert Phase.HOLDING not in qemu.phases
    qemu.turn(1000)
    assert qemu.work.called


def test_a_qemu_that_does_not_wait_is_an_error() -> None:
    """Its guest may free memory that is dropped from the pass without a byte."""
    qemu = Sending(512 * MIB, [PAGE + 8])
    qemu.turn(60)
    qemu.stopped.callback(None)
    found: list[Any] = []
    qemu.work.addBoth(found.append)
    assert isinstance(found[0].value, MemoryFailed)
    assert "migrate without --hold" in str(found[0].value)


@pytest.mark.parametrize(("connections", "times"), [(0, 1), (3, 4)])
def test_what_may_be_on_the_way(tmp_path: Path, connections: int, times: int) -> None:
    told = tmp_path / "wmem_default"
    told.write_text("212992\n")
    assert on_the_way(connections, told) == times * (212992 + BUFFERS)
