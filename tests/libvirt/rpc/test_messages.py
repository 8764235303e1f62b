"""libvirt's messages: the same ones, however the stream is cut."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ProtocolViolation
from nbdtun.libvirt.rpc.messages import HEADER, MAX, Kind, Message, Reader, Status
from tests.libvirt.rpc.stage import CONVERSATION

STREAM = b"".join(message.encode() for message in CONVERSATION)
NUMBERS = st.integers(0, 2**32 - 1)


def test_the_header_is_libvirts() -> None:
    message = Message(0x20008086, 1, 66, Kind.CALL, 1)
    assert message.encode().hex(" ", 4) == "0000001c 20008086 00000001 00000042 00000000 00000001 00000000"  # as it was recorded


@given(cuts=st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_any_cut_gives_the_same_messages(cuts: list[int]) -> None:
    reader = Reader()
    places = [0, *sorted(cuts), len(STREAM)]
    found = [message for start, end in pairwise(places) for message in reader.feed(STREAM[start:end])]
    assert tuple(found) == CONVERSATION
    assert not reader.amid


def test_byte_by_byte() -> None:
    reader = Reader()
    assert tuple(message for byte in STREAM for message in reader.feed(bytes([byte]))) == CONVERSATION


@given(NUMBERS, NUMBERS, st.integers(-(2**31), 2**31 - 1), st.sampled_from(Kind), NUMBERS, st.sampled_from(Status), st.binary(max_size=99))
def test_what_is_written_is_read(program: int, version: int, procedure: int, kind: Kind, serial: int, status: Status, body: bytes) -> None:
    message = Message(program, version, procedure, kind, serial, status, body)
    assert list(Reader().feed(message.encode())) == [message]


def test_half_a_message_is_kept() -> None:
    reader = Reader()
    assert list(reader.feed(STREAM[:27])) == []
    assert reader.amid
    assert f"{reader!r}" == "<Reader 27 bytes kept>"


@pytest.mark.parametrize("size", [0, HEADER.size - 1, MAX + 1, 2**32 - 1])
def test_an_impossible_length_is_refused_before_anything_is_kept(size: int) -> None:
    with pytest.raises(ProtocolViolation, match=rf"^a message of libvirt's RPC of {size} bytes; 28 to 33554436 are possible$"):
        list(Reader().feed(size.to_bytes(4, "big")))


@pytest.mark.parametrize(("kind", "status"), [(7, 0), (0, 3), (2**31, 0)])
def test_an_unknown_type_or_status_is_refused(kind: int, status: int) -> None:
    with pytest.raises(ProtocolViolation, match=rf"unknown type {kind} or status {status}"):
        list(Reader().feed(Message(1, 1, 1, kind, 1, status).encode()))


def test_what_came_before_is_still_given() -> None:
    found = Reader().feed(CONVERSATION[0].encode() + bytes(4))
    assert next(found) == CONVERSATION[0]
    with pytest.raises(ProtocolViolation):
        next(found)


@given(st.binary())
def test_any_bytes_are_messages_or_a_violation(data: bytes) -> None:
    with suppress(ProtocolViolation):
        assert all(message.encode() in data for message in Reader().feed(data))
