"""A daemon that runs for years: whatever happens to it once leaves nothing, so that it may happen any number of times."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from collections import Counter
from collections.abc import Iterator

import pytest
from twisted.logger import globalLogBeginner, globalLogPublisher

from nbdtun.migration.destination import register
from tests.properties.repeated_channels import Repeated
from tests.properties.repetitions import CASES

#: How often each thing happens: now, and when there is time. The first of them may fill caches and pools.
FIRST_FEW, FEW = 20, 30
FIRST_MANY, MANY = 100, 900

#: Bytes by which this process may have grown in the long run.
BYTES = 1 << 20


@pytest.fixture(autouse=True)
def _few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions that are over are remembered up to a number, which is reached before anything is measured."""
    monkeypatch.setattr(register, "REMEMBERED", 4)


@pytest.fixture(autouse=True, scope="module")
def _like_a_daemon() -> Iterator[None]:
    """It has been at work for a while, and its log has begun: before that, Twisted keeps all events."""
    early = globalLogBeginner._temporaryObserver
    assert early is not None
    globalLogPublisher.removeObserver(early)
    for case in ("an end: complete", "a session: moved", "a control socket: asked"):
        repeat(CASES[case](), 2)
        Measure()
    yield
    globalLogPublisher.addObserver(early)


class Measure:
    """What this process has now, with this object; later it says what there is more."""

    def __init__(self) -> None:
        gc.collect()  # what goes later would hide what has come
        self._descriptors = len(os.listdir("/proc/self/fd"))
        self._objects = _objects()
        gc.collect()
        self._blocks = sys.getallocatedblocks()

    def assert_level(self, objects: int, blocks: int) -> None:
        """There are not so many more objects, blocks of memory (a dictionary grows in steps) and open files."""
        gc.collect()
        new = sys.getallocatedblocks() - self._blocks
        assert len(os.listdir("/proc/self/fd")) <= self._descriptors
        found = _objects()
        more = Counter({name: count - self._objects[name] for name, count in found.items()})
        names = ", ".join(f"{count} {name}" for name, count in more.most_common(12) if count > 0)
        assert found.total() - self._objects.total() <= objects, f"objects more: {names}"
        assert new <= blocks, f"{new} blocks more: {names}"


def _objects() -> Counter[str]:
    return Counter(type(each).__name__ for each in gc.get_objects())


def resident() -> int:
    """Bytes of memory that this process has in RAM, without those that the allocator merely holds."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # not with every libc
        ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def repeat(again: Repeated, times: int) -> None:
    for _ in range(times):
        again()


@pytest.mark.parametrize("case", CASES)
def test_it_leaves_nothing(case: str) -> None:
    again = CASES[case]()
    repeat(again, FIRST_FEW)
    before = Measure()
    repeat(again, FEW)
    before.assert_level(FEW // 2, 20 * FEW)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("NBDTUN_SLOW"), reason="waits for long")
@pytest.mark.parametrize("case", CASES)
def test_it_leaves_nothing_in_the_long_run(case: str) -> None:
    again = CASES[case]()
    repeat(again, FIRST_MANY)
    before, memory = Measure(), resident()
    repeat(again, MANY)
    assert resident() - memory <= BYTES
    before.assert_level(MANY // 10, MANY)


def test_a_leak_would_be_seen() -> None:
    """Else the tests above would hold because nothing is measured."""
    kept: list[object] = []

    def leaks() -> None:
        try:
            raise_again(error)
        except ValueError:
            kept.append([0])

    def raise_again(error: Exception) -> None:
        raise error

    error = ValueError("the same one")
    repeat(leaks, FIRST_FEW)
    before = Measure()
    repeat(leaks, FEW)
    with pytest.raises(AssertionError, match="objects more"):
        before.assert_level(FEW // 2, 20 * FEW)
