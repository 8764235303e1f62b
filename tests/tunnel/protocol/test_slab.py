"""Slabs are lent and come back; a backlog holds its bytes and hardly more."""

from __future__ import annotations

import random

import pytest

from nbdtun.tunnel.protocol.slab import KEEP_FOR_THE_NEXT, Backlog, SlabPool
from tests.tunnel.stage.pool import CountingPool


def test_the_latest_slab_given_back_is_lent_first() -> None:
    pool = SlabPool()
    first, second = pool.take(), pool.take()
    pool.give(first)
    pool.give(second)
    assert pool.take() is second
    assert pool.take() is first


def test_a_slab_comes_back_empty() -> None:
    pool = SlabPool(size=100)
    slab = pool.take()
    slab.used, slab.users = 60, 3
    pool.give(slab)
    assert (slab.used, slab.users, slab.size) == (0, 0, 100)


def test_only_so_many_are_kept() -> None:
    pool = SlabPool(keep=2, size=10)
    lent = [pool.take() for _ in range(5)]
    for slab in lent:
        pool.give(slab)
    assert len(pool._free) == 2


def test_when_a_channel_has_ended_fewer_are_kept_the_latest() -> None:
    pool = SlabPool(size=10)
    lent = [pool.take() for _ in range(KEEP_FOR_THE_NEXT + 10)]
    for slab in lent:
        pool.give(slab)
    pool.trim()
    assert len(pool._free) == KEEP_FOR_THE_NEXT
    assert pool.take() is lent[-1]
    pool.trim()
    assert len(pool._free) == KEEP_FOR_THE_NEXT - 1


def test_the_scratch_buffer_is_one_for_all() -> None:
    pool = SlabPool(size=100)
    assert pool.scratch is pool.scratch
    assert len(pool.scratch) == 100


class TestBacklog:
    def test_what_goes_in_comes_out(self) -> None:
        """Any pieces in, any pieces out."""
        dice = random.Random(4)
        backlog = Backlog(SlabPool(size=64))
        into, out, size = bytearray(), bytearray(), 0
        for _ in range(2000):
            piece = dice.randbytes(dice.randrange(1, 100))
            backlog.append(memoryview(piece))
            into += piece
            while backlog and dice.random() < 0.6:
                head = backlog.head()
                take = dice.randint(1, len(head))
                out += head[:take]
                backlog.consume(take)
            size = len(into) - len(out)
            assert len(backlog) == size
            assert bool(backlog) == (size > 0)
        while backlog:
            out += backlog.head()
            backlog.consume(len(backlog.head()))
        assert out == into

    def test_its_memory_is_its_bytes_and_at_most_two_slabs_in_part(self) -> None:
        pool = CountingPool(size=64)
        backlog = Backlog(pool)
        for _ in range(100):
            backlog.append(memoryview(bytes(7)))
            assert pool.lent * 64 < len(backlog) + 2 * 64
        while backlog:
            backlog.consume(1)
            assert pool.lent * 64 < len(backlog) + 2 * 64
        assert pool.lent == 0

    @pytest.mark.parametrize("consumed", [0, 1, 64, 100])
    def test_what_is_cleared_is_given_back(self, consumed: int) -> None:
        pool = CountingPool(size=64)
        backlog = Backlog(pool)
        backlog.append(memoryview(bytes(200)))
        for _ in range(consumed):
            backlog.consume(1)
        backlog.clear()
        assert not backlog
        assert len(backlog) == 0
        assert pool.lent == 0
        backlog.append(memoryview(b"again"))
        assert bytes(backlog.head()) == b"again"
