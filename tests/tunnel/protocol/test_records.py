"""The reader: records come in pieces of any size, and go out whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.tls.records.messages import ALERT, CLOSE_NOTIFY, HANDSHAKE, KEY_UPDATE, RecordError, fatal
from nbdtun.tls.records.protection import HEADER, MAX_BATCH, MAX_DATA, OVERHEAD
from nbdtun.tunnel.protocol.records import BUFFER, FEW, ROOM, RecordReader
from tests.tls.records.stage import Direction
from tests.tunnel.stage.pool import CountingPool


class Sender(Direction):
    """The other end, and a reader for what it sends."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = CountingPool(size=BUFFER)
        self.reader = RecordReader(self.opener, self.pool)

    def feed(self, data: bytes, most: int = BUFFER) -> int:
        """Put in as much as there is room for, at most ``most``; return how much that was."""
        space = self.reader.space()
        count = min(len(data), len(space), most)
        space[:count] = data[:count]
        self.reader.filled(count)
        return count

    def take(self, size: int = MAX_BATCH + ROOM) -> bytes:
        buffer = memoryview(bytearray(size))
        return bytes(buffer[: self.reader.take(buffer)])


@pytest.fixture
def sender() -> Sender:
    return Sender()


payloads = st.lists(st.binary(min_size=1, max_size=3000) | st.integers(1, MAX_BATCH).map(bytes), max_size=6)


@given(payloads, st.lists(st.integers(1, BUFFER), min_size=1), st.data())
def test_whatever_the_pieces_all_comes_out(payloads: list[bytes], pieces: list[int], data: st.DataObject) -> None:
    sender = Sender()
    line = b"".join(map(sender.batch, payloads))
    got, turn = bytearray(), 0
    while line or sender.reader.whole:
        if not sender.reader.whole:
            line = line[sender.feed(line, pieces[turn % len(pieces)]) :]
            turn += 1
        got += sender.take(ROOM + data.draw(st.integers(0, 100_000)))
        assert sender.pool.lent <= 1
    assert got == b"".join(payloads)
    assert sender.pool.lent == 0


def test_a_batch_is_taken_at_once(sender: Sender) -> None:
    line = sender.batch(bytes(MAX_BATCH))
    assert sender.feed(line) == len(line)
    assert len(sender.take()) == MAX_BATCH


def test_what_has_no_room_waits(sender: Sender) -> None:
    sender.feed(sender.batch(b"one") + sender.batch(b"three"))
    assert sender.take(ROOM) == b"one"
    assert sender.reader.whole
    assert sender.take(ROOM) == b"three"
    assert not sender.reader.whole


def test_few_bytes_need_no_buffer_but_a_small_whole_record_does(sender: Sender) -> None:
    line = sender.batch(bytes(1000))
    sender.feed(line[:FEW])
    assert sender.pool.lent == 0
    sender.feed(line[FEW:] + sender.batch(b"x"))
    assert sender.take(ROOM) == bytes(1000)
    assert sender.pool.lent == 1
    assert sender.take(ROOM) == b"x"
    assert sender.pool.lent == 0


def test_what_is_no_data_is_passed_over(sender: Sender) -> None:
    ticket = bytes([4, 0, 0, 9]) + bytes(9)
    sender.feed(sender.sealed(HANDSHAKE, ticket) + sender.batch(b"one") + sender.sealed(HANDSHAKE, KEY_UPDATE))
    assert sender.take() == b"one"
    sender.sealer._change()
    sender.feed(sender.batch(b"two"))
    assert sender.take() == b"two"


def test_an_alert_ends_it_behind_the_data_that_came_before(sender: Sender) -> None:
    sender.feed(sender.batch(b"last") + sender.sealed(ALERT, CLOSE_NOTIFY) + sender.batch(b"too late"))
    assert sender.take() == b"last"
    assert sender.reader.alert == "CLOSE_NOTIFY"
    assert sender.take() == b""
    sender.reader.clear()
    assert repr(sender.reader) == "<RecordReader few alert=CLOSE_NOTIFY>"


def test_a_user_who_has_cancelled_still_says_goodbye(sender: Sender) -> None:
    sender.feed(sender.sealed(ALERT, fatal("USER_CANCELED")))
    sender.take()
    assert sender.reader.alert is None


def test_nothing_came(sender: Sender) -> None:
    sender.feed(b"")
    assert sender.take() == b""
    assert sender.pool.lent == 0


def test_an_absurd_length_is_not_believed(sender: Sender) -> None:
    with pytest.raises(RecordError):
        sender.feed(b"\x17\3\3\xff\xff" + bytes(100))
    sender.reader.clear()
    assert sender.pool.lent == 0


def test_a_forgery_gives_its_buffer_back(sender: Sender) -> None:
    sender.feed(b"\x17\3\3\0\x64" + bytes(100))
    with pytest.raises(RecordError):
        sender.take()
    sender.reader.clear()
    sender.reader.clear()
    assert sender.pool.lent == 0


def test_a_buffer_holds_a_batch_and_the_beginning_of_the_next_record() -> None:
    assert MAX_BATCH + 16 * OVERHEAD + OVERHEAD + len(KEY_UPDATE) + MAX_DATA + HEADER <= BUFFER
