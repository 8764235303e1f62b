"""The reader: records come in pieces of any size, and go out whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.protocol.records import RecordReader
from nbdtun.tunnel.protocol.seal import BUFFER, HEADER, MAX_RECORD, OVERHEAD, contribute, destination_seals, source_seals
from tests.tunnel.stage.pool import CountingPool


class Sender:
    """The other end, and a reader for what it sends."""

    def __init__(self) -> None:
        near, far = contribute(), contribute()
        self._seal = source_seals(near, far).outgoing
        self.pool = CountingPool(size=BUFFER)
        self.reader = RecordReader(destination_seals(far, near).incoming, self.pool)

    def record(self, payload: bytes) -> bytes:
        record = memoryview(bytearray(BUFFER))
        return bytes(record[: self._seal.seal(memoryview(payload), record)])

    def feed(self, data: bytes, most: int = BUFFER) -> int:
        """Put in as much as is wanted, at most ``most``; return how much that was."""
        space = self.reader.space()
        count = min(len(data), len(space), most)
        space[:count] = data[:count]
        self.reader.filled(count)
        return count

    def take(self, size: int = MAX_RECORD) -> bytes:
        buffer = memoryview(bytearray(size))
        return bytes(buffer[: self.reader.take(buffer)])


@pytest.fixture
def sender() -> Sender:
    return Sender()


payloads = st.lists(st.binary(min_size=1, max_size=3000) | st.integers(1, MAX_RECORD).map(bytes), max_size=6)


@given(payloads, st.lists(st.integers(1, BUFFER), min_size=1), st.data())
def test_whatever_the_pieces_all_comes_out(payloads: list[bytes], pieces: list[int], data: st.DataObject) -> None:
    sender = Sender()
    line = b"".join(sender.record(payload) for payload in payloads)
    got, turn = bytearray(), 0
    while line or sender.reader.missing == 0:
        if sender.reader.missing != 0:
            line = line[sender.feed(line, pieces[turn % len(pieces)]) :]
            turn += 1
        got += sender.take(MAX_RECORD + data.draw(st.integers(0, 100)))
        assert sender.pool.lent <= 1
    assert got == b"".join(payloads)
    assert sender.pool.lent == 0
    assert sender.reader.missing is None


def test_no_more_is_wanted_than_a_record_and_the_next_ones_header(sender: Sender) -> None:
    first, second = sender.record(bytes(100_000)), sender.record(bytes(50_000))
    sender.feed(first[:1000])
    assert sender.reader.missing == len(first) - 1000
    assert sender.feed(first[1000:] + second) == len(first) - 1000 + HEADER
    assert sender.reader.missing == 0
    assert len(sender.take()) == 100_000
    assert sender.reader.missing == len(second) - HEADER
    assert sender.pool.lent == 0, "a header alone needs no buffer"
    sender.feed(second[HEADER:])
    assert len(sender.take()) == 50_000


def test_several_small_ones_are_taken_at_once(sender: Sender) -> None:
    sender.feed(sender.record(b"one") + sender.record(b"two") + sender.record(b"three")[:-1])
    assert sender.take() == b"onetwo"
    assert sender.reader.missing == 1


def test_what_has_no_room_waits(sender: Sender) -> None:
    sender.feed(sender.record(b"one") + sender.record(b"three"))
    assert sender.take(7) == b"one"
    assert sender.reader.missing == 0
    assert sender.take(7) == b"three"


def test_nothing_came(sender: Sender) -> None:
    sender.feed(b"")
    assert sender.take() == b""
    assert sender.pool.lent == 0


def test_an_absurd_length_is_not_believed(sender: Sender) -> None:
    with pytest.raises(ProtocolViolation):
        sender.feed(b"\xff" * 100)
    sender.reader.clear()
    assert sender.pool.lent == 0


def test_a_forgery_gives_its_buffer_back(sender: Sender) -> None:
    sender.feed((10).to_bytes(4, "big") + bytes(10 + OVERHEAD))
    with pytest.raises(ProtocolViolation):
        sender.take()
    sender.reader.clear()
    sender.reader.clear()
    assert sender.pool.lent == 0
    assert repr(sender.reader) == "<RecordReader missing=0>"
