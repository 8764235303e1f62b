"""Seals: what one end closes the other opens, in its order, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.protocol.seal import BUFFER, HEADER, MAX_RECORD, OVERHEAD, Seals, contribute, destination_seals, measure, source_seals


def both() -> tuple[Seals, Seals]:
    """The seals of a link, at the source and at the destination."""
    near, far = contribute(), contribute()
    return source_seals(near, far), destination_seals(far, near)


def closed(seals: Seals, payload: bytes) -> bytes:
    record = memoryview(bytearray(BUFFER))
    return bytes(record[: seals.outgoing.seal(memoryview(payload), record)])


def opened(seals: Seals, record: bytes) -> bytes:
    payload = memoryview(bytearray(MAX_RECORD))
    return bytes(payload[: seals.incoming.open(memoryview(record), payload)])


@given(st.lists(st.binary(min_size=1, max_size=5000), max_size=5), st.lists(st.binary(min_size=1, max_size=5000), max_size=5))
def test_what_one_end_closes_the_other_opens(forth: list[bytes], back: list[bytes]) -> None:
    source, destination = both()
    assert [opened(destination, closed(source, payload)) for payload in forth] == forth
    assert [opened(source, closed(destination, payload)) for payload in back] == back


def test_the_largest_record() -> None:
    source, destination = both()
    payload = bytes(range(256)) * (MAX_RECORD // 256)
    record = closed(source, payload)
    assert len(record) == measure(memoryview(record), 0, len(record)) == MAX_RECORD + OVERHEAD
    assert opened(destination, record) == payload


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_changed_bit_is_seen(payload: bytes, data: st.DataObject) -> None:
    source, destination = both()
    record = bytearray(closed(source, payload))
    bit = data.draw(st.integers(0, 8 * len(record) - 1))
    record[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ProtocolViolation, match="altered in transit"):
        opened(destination, bytes(record))


def test_a_record_that_is_left_out_repeated_or_moved_is_seen() -> None:
    source, destination = both()
    first, second = closed(source, b"first"), closed(source, b"second")
    with pytest.raises(ProtocolViolation):
        opened(destination, second)
    assert opened(destination, first) == b"first"
    with pytest.raises(ProtocolViolation):
        opened(destination, first)
    assert opened(destination, second) == b"second"


def test_what_is_sent_back_to_its_sender_is_seen() -> None:
    source, _ = both()
    with pytest.raises(ProtocolViolation):
        opened(source, closed(source, b"mine"))


def test_each_link_has_its_own_keys() -> None:
    (source, _), (_, destination) = both(), both()
    with pytest.raises(ProtocolViolation):
        opened(destination, closed(source, b"payload"))


def test_the_same_payload_never_looks_the_same() -> None:
    source, _ = both()
    assert closed(source, b"payload") != closed(source, b"payload")


@given(st.binary(max_size=HEADER - 1))
def test_too_little_of_a_header_says_nothing(beginning: bytes) -> None:
    assert measure(memoryview(beginning), 0, len(beginning)) is None


@given(st.integers(0, 2**32 - 1))
def test_a_record_has_bounds(size: int) -> None:
    beginning = memoryview(b"behind" + size.to_bytes(4, "big"))
    if 0 < size <= MAX_RECORD:
        assert measure(beginning, 6, 10) == size + OVERHEAD
    else:
        with pytest.raises(ProtocolViolation, match=f"a record of {size} bytes"):
            measure(beginning, 6, 10)


def test_how_they_look() -> None:
    source, _ = both()
    closed(source, b"payload")
    assert repr(source.outgoing) == "<Seal of 1 records>"


def test_the_keys_are_those_of_the_specification() -> None:
    """HKDF-SHA256 of both contributions; ``docs/protocol`` has the same example."""
    source, destination = source_seals(b"s" * 32, b"d" * 32), destination_seals(b"d" * 32, b"s" * 32)
    assert closed(source, b"hello").hex() == "00000005a4f76171f4cfe18c2b6a00ad768d636953809bee53"
    assert closed(destination, b"hello").hex() == "00000005ba35cb1ada77dad1d9071b516ef3aaa5762fb02106"
