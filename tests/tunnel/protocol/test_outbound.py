"""Single cases of a stream's rules; any interleaving of them is in ``tests/properties``."""

from __future__ import annotations

import tracemalloc

import pytest

from nbdtun.errors import ProtocolViolation, ResumeRefused
from nbdtun.tunnel.protocol.outbound import FULL, PIECE, Outbound
from nbdtun.tunnel.protocol.slab import SLAB_SIZE, SlabPool
from tests.tunnel.stage.pool import CountingPool
from tests.tunnel.stage.reading import reading


def outbound(*writes: bytes) -> Outbound:
    stream = Outbound(1 << 20, SlabPool())
    for data in writes:
        assert stream.read(reading(data)) == len(data)
    return stream


def test_a_frame_that_is_leaving_is_acknowledged_in_part_but_not_as_a_whole() -> None:
    stream = outbound(b"0123456789")
    assert stream.next_frame() is not None
    stream.acknowledge(4)  # the other end takes bytes as they come
    with pytest.raises(ProtocolViolation):
        stream.acknowledge(10)  # its last byte has not left: the memory would be lent to somebody else meanwhile
    stream.leaving = False
    stream.acknowledge(10)
    assert stream.kept == 0


def test_small_pieces_that_wait_become_one_frame() -> None:
    stream = outbound(b"one", b"two")
    frame = stream.next_frame()
    assert frame is not None
    assert bytes(frame[16:]) == b"onetwo"


def test_a_resume_sends_what_was_not_received() -> None:
    stream = outbound(b"0123456789")
    stream.next_frame()
    stream.leaving = False
    assert stream.rewind(7) == 3
    frame = stream.next_frame()
    assert frame is not None
    assert bytes(frame[16:]) == b"789"
    with pytest.raises(ResumeRefused):
        stream.rewind(6)
    with pytest.raises(ProtocolViolation):
        stream.rewind(11)


@pytest.mark.parametrize("size", [1, 16, 28, 500, 5000, 100_000])
def test_the_window_bounds_what_pieces_really_cost(size: int) -> None:
    """Many small answers to a peer that never acknowledges: Python's objects for them are most of the memory."""
    window, pool, piece = 1 << 20, CountingPool(), bytes(size)
    stream = Outbound(window, pool)
    receive = reading(piece)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        while stream.read(receive) != FULL:
            stream.next_frame()
            stream.leaving = False
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    slabs = pool.lent * SLAB_SIZE
    assert taken + min(slabs, stream.end + 32 * len(stream._sent)) <= 1.05 * window
    assert stream.kept <= window + PIECE


def test_a_peer_that_asks_for_less_and_then_for_more_again() -> None:
    """What was sent once, and is not sent again yet, may all have been received."""
    stream = Outbound(1 << 20, SlabPool())
    for _ in range(3):
        assert stream.read(reading(bytes(1000))) == 1000
        assert stream.next_frame() is not None
        stream.leaving = False
    stream.rewind(0)
    assert stream.next_frame() is not None
    stream.leaving = False
    stream.rewind(2500)
    frame = stream.next_frame()
    assert frame is not None
    assert len(frame) == 16 + 500
    stream.leaving = False
    stream.rewind(3000)
    assert stream.next_frame() is None
    assert stream.kept == 0
