"""Protection: what one end seals the other opens, in its order, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.tls.records import protection
from nbdtun.tls.records.messages import ALERT, DATA, HANDSHAKE, KEY_UPDATE, RecordError
from nbdtun.tls.records.protection import HEADER, MAX_BATCH, MAX_BODY, MAX_DATA, MAX_EMPTY, OVERHEAD, Sealer, measure
from nbdtun.tls.records.suites import SUITES, suite
from tests.tls.records.stage import Direction, split
from tests.tls.records.test_schedule import CLIENT

ASKING = bytes([24, 0, 0, 1, 1])


def refused(direction: Direction, record: bytes) -> str:
    with pytest.raises(RecordError) as caught:
        direction.opened(record)
    return caught.value.alert


def test_a_record_is_that_of_the_rfc() -> None:
    """RFC 8448, section 3: the client's application data."""
    out = memoryview(bytearray(100))
    size = Sealer(suite("TLS_AES_128_GCM_SHA256"), CLIENT).seal_data(memoryview(bytes(range(50))), out)
    assert bytes(out[:size]).hex() == (
        "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e"
        "1f5a6292a2977014bd1e3deae63aeebb21694915e4"
    )


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize("size", [1, 100, MAX_DATA - 1, MAX_DATA, MAX_DATA + 1, 5 * MAX_DATA + 7, MAX_BATCH])
def test_a_batch_arrives_whole(name: str, size: int) -> None:
    direction, data = Direction(name), bytes(range(256)) * (size // 256 + 1)
    records = split(direction.batch(data[:size]))
    assert len(records) == -(-size // MAX_DATA)
    assert b"".join(direction.opened(record)[1] for record in records) == data[:size]


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=5))
def test_records_arrive_in_their_order(payloads: list[bytes]) -> None:
    direction = Direction()
    assert [direction.opened(direction.batch(payload)) for payload in payloads] == [(DATA, payload) for payload in payloads]


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_changed_bit_is_seen(payload: bytes, data: st.DataObject) -> None:
    direction = Direction()
    record = bytearray(direction.batch(payload))
    bit = data.draw(st.integers(0, 8 * len(record) - 1))
    record[bit // 8] ^= 1 << bit % 8
    assert refused(direction, bytes(record)) == "BAD_RECORD_MAC"


def test_a_record_that_is_left_out_repeated_or_moved_is_seen() -> None:
    direction = Direction()
    first, second = direction.batch(b"first"), direction.batch(b"second")
    assert refused(direction, second) == "BAD_RECORD_MAC"
    assert direction.opened(first) == (DATA, b"first")
    assert refused(direction, first) == "BAD_RECORD_MAC"
    assert direction.opened(second) == (DATA, b"second")


@given(st.binary(max_size=300), st.integers(0, 240))
def test_padding_is_taken_off(payload: bytes, padding: int) -> None:
    direction = Direction()
    record = direction.sealed(0, payload + bytes([DATA]) + bytes(max(0, padding - 1))) if padding else direction.sealed(DATA, payload)
    assert direction.opened(record) == (DATA, payload)


def test_padding_alone_is_no_record() -> None:
    direction = Direction()
    assert refused(direction, direction.sealed(0, bytes(50))) == "UNEXPECTED_MESSAGE"


def test_the_most_that_a_peer_may_send_and_no_more() -> None:
    direction = Direction()
    assert direction.opened(direction.sealed(0, bytes([1]) * MAX_DATA + bytes([DATA]))) == (DATA, bytes([1]) * MAX_DATA)
    assert refused(direction, direction.sealed(DATA, bytes([1]) * (MAX_DATA + 1))) == "RECORD_OVERFLOW"


def test_an_alert_is_passed_on() -> None:
    direction = Direction()
    assert direction.opened(direction.sealed(ALERT, b"\1\0")) == (ALERT, b"\1\0")


@pytest.mark.parametrize("kind", [1, 20, 24, 255])
def test_other_content_is_refused(kind: int) -> None:
    direction = Direction()
    assert refused(direction, direction.sealed(kind, b"\1")) == "UNEXPECTED_MESSAGE"


def test_between_the_records_of_a_message_nothing_else_may_come() -> None:
    for kind, payload in ((DATA, b"x"), (ALERT, b"\1\0")):
        direction = Direction()
        direction.opened(direction.sealed(HANDSHAKE, KEY_UPDATE[:2]))
        assert refused(direction, direction.sealed(kind, payload)) == "UNEXPECTED_MESSAGE"


class TestFull:
    """The short way of records that are full of data."""

    def test_they_are_opened_together(self) -> None:
        direction, data = Direction(), bytes(range(256)) * (3 * MAX_DATA // 256) + b"rest"
        line, out = direction.batch(data), room(4)
        start, count = direction.opener.open_full(memoryview(line), 0, len(line), out)
        assert bytes(out[:count]) == data[: 3 * MAX_DATA]
        assert direction.opened(line[start:]) == (DATA, b"rest")

    @given(st.integers(0, 4 * (MAX_DATA + OVERHEAD)), st.integers(0, 4 * MAX_DATA + 100))
    def test_only_those_that_have_arrived_and_for_which_there_is_room(self, arrived: int, space: int) -> None:
        direction = Direction()
        line = direction.batch(bytes(4 * MAX_DATA))
        expected = max(0, min(arrived // (MAX_DATA + OVERHEAD), (space - 1) // MAX_DATA))
        start, count = direction.opener.open_full(memoryview(line), 0, arrived, room(4)[:space])
        assert (start, count) == (expected * (MAX_DATA + OVERHEAD), expected * MAX_DATA)

    @given(st.integers(0, 8 * 2 * (MAX_DATA + OVERHEAD) - 1))
    def test_a_changed_bit_is_seen(self, bit: int) -> None:
        direction = Direction()
        line = bytearray(direction.batch(bytes(2 * MAX_DATA)))
        line[bit // 8] ^= 1 << bit % 8
        seen, start, count = False, 0, 0
        try:
            start, count = direction.opener.open_full(memoryview(line), 0, len(line), room(2))
        except RecordError as error:
            seen = error.alert == "BAD_RECORD_MAC"
        assert seen or (start < len(line) and count == start // (MAX_DATA + OVERHEAD) * MAX_DATA)  # a header is for measure()

    def test_one_that_is_full_of_something_else_is_left(self) -> None:
        direction = Direction()
        padded = direction.sealed(0, b"x" * 100 + bytes([DATA]) + bytes(MAX_DATA - 101))
        assert direction.opener.open_full(memoryview(padded), 0, len(padded), room(1)) == (0, 0)
        assert direction.opened(padded) == (DATA, b"x" * 100)

    def test_none_between_the_records_of_a_message(self) -> None:
        direction = Direction()
        direction.opened(direction.sealed(HANDSHAKE, KEY_UPDATE[:2]))
        line = direction.batch(bytes(MAX_DATA))
        assert direction.opener.open_full(memoryview(line), 0, len(line), room(1)) == (0, 0)

    def test_no_more_than_a_key_may_protect(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protection, "MAX_RECORDS", 3)
        direction = Direction()
        line = direction.batch(bytes(4 * MAX_DATA))
        start, _ = direction.opener.open_full(memoryview(line), 0, len(line), room(4))
        assert refused(direction, line[start:]) == "UNEXPECTED_MESSAGE"


def room(records: int) -> memoryview:
    return memoryview(bytearray(records * MAX_DATA + 1))


class TestKeys:
    def test_they_change_when_they_have_served(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protection, "CHANGE_AFTER", 3)
        direction, got = Direction(), b""
        for number in range(20):
            for record in split(direction.batch(bytes([number]))):
                got += direction.opened(record)[1]
        assert got == bytes(range(20))
        assert direction.opener._changes == 6

    def test_they_change_when_the_other_end_asks(self) -> None:
        there, back = Direction(), Direction()
        assert there.opened(there.sealed(HANDSHAKE, ASKING)) == (DATA, b"")
        there.sealer._change()  # as who sends it does
        assert there.opened(there.batch(b"under the next key")) == (DATA, b"under the next key")
        assert there.opener.change_asked
        back.sealer.change_due = True
        update, data = split(back.batch(b"ours, too"))
        assert back.opened(update) == (DATA, b"")
        assert back.opened(data) == (DATA, b"ours, too")
        assert not back.sealer.change_due

    def test_a_full_batch_behind_a_change_has_room(self) -> None:
        direction = Direction()
        direction.sealer.change_due = True
        assert len(split(direction.batch(bytes(MAX_BATCH)))) == 17

    def test_a_key_that_has_protected_too_much_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protection, "MAX_RECORDS", 5)
        direction = Direction()
        for _ in range(5):
            direction.opened(direction.batch(b"x"))
        with pytest.raises(RecordError, match="its key has protected too many records"):
            direction.opened(direction.batch(b"x"))

    def test_once_wiped_they_are_gone(self) -> None:
        direction = Direction()
        direction.sealer.wipe()
        direction.opener.wipe()
        assert repr(direction.sealer) == "<Sealer of 0 records>"
        assert repr(direction.opener) == "<Opener of 0 records>"


class TestFloods:
    """What costs work and brings no data has an end."""

    @pytest.mark.parametrize("payload", [b"", bytes([4, 0, 0, 0])], ids=["empty", "tickets"])
    def test_of_records_without_data(self, payload: bytes) -> None:
        direction = Direction()
        kind = HANDSHAKE if payload else DATA
        for _ in range(MAX_EMPTY):
            assert direction.opened(direction.sealed(kind, payload)) == (DATA, b"")
        direction.opened(direction.batch(b"x"))
        for _ in range(MAX_EMPTY):
            direction.opened(direction.sealed(kind, payload))
        assert refused(direction, direction.sealed(kind, payload)) == "UNEXPECTED_MESSAGE"

    def test_of_key_changes_even_between_data(self) -> None:
        direction = Direction()
        with pytest.raises(RecordError, match="17 key changes within 33 records"):  # noqa: PT012
            for _ in range(100):
                direction.opened(direction.sealed(HANDSHAKE, KEY_UPDATE))
                direction.sealer._change()
                direction.opened(direction.batch(b"x"))

    def test_who_sends_enough_between_them_may_go_on(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(protection, "CHANGE_AFTER", 1024)
        direction = Direction()
        for _ in range(30_000):
            for record in split(direction.batch(b"x")):
                direction.opened(record)


class TestMeasures:
    @given(st.binary(max_size=HEADER - 1))
    def test_too_little_of_a_header_says_nothing(self, beginning: bytes) -> None:
        assert measure(memoryview(beginning), 0, len(beginning)) is None

    @given(st.integers(0, 2**16 - 1))
    def test_a_record_has_bounds(self, size: int) -> None:
        view = memoryview(b"behind\x17\3\3" + size.to_bytes(2))
        if 16 < size <= MAX_BODY:
            assert measure(view, 6, len(view)) == HEADER + size
        else:
            with pytest.raises(RecordError, match=f"a TLS record of {size} bytes"):
                measure(view, 6, len(view))

    @pytest.mark.parametrize(
        ("beginning", "what"),
        [
            (b"\x14\3\3\0\1", "an unprotected TLS record"),
            (b"\x15\3\3\0\2", "an unprotected TLS record"),
            (b"GET /", "no TLS record"),
            (b"\x17\3\1\0\x20", "no TLS record"),
        ],
    )
    def test_what_is_no_record_is_said(self, beginning: bytes, what: str) -> None:
        with pytest.raises(RecordError, match=f"{what} after the handshake"):
            measure(memoryview(beginning), 0, 5)

    def test_what_is_sealed_measures_itself(self) -> None:
        record = Direction().batch(b"x" * 77)
        assert measure(memoryview(record), 0, len(record)) == len(record) == 77 + OVERHEAD
