"""XDR: what is written is read, and nothing else is taken."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ProtocolViolation
from nbdtun.libvirt.rpc.xdr import Unpacker, opaque, optional_string, string, uint

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


@given(TEXTS, st.none() | TEXTS, st.integers(0, 2**32 - 1), st.binary(max_size=9))
def test_what_is_written_is_read(text: str, maybe: str | None, number: int, data: bytes) -> None:
    unpacker = Unpacker(string(text) + optional_string(maybe) + uint(number) + opaque(data))
    assert (unpacker.string(), unpacker.optional_string(), unpacker.uint(), unpacker.opaque(9)) == (text, maybe, number, data)
    unpacker.end()


def test_numbers() -> None:
    unpacker = Unpacker(struct.pack("!iqQd", -1, -2, 2**64 - 1, 0.5))
    assert (unpacker.sint(), unpacker.hyper(), unpacker.uhyper(), unpacker.double()) == (-1, -2, 2**64 - 1, 0.5)
    assert f"{unpacker!r}" == "<Unpacker at 28 of 28>"


@pytest.mark.parametrize(
    ("data", "take", "text"),
    [
        (b"\0\0\0", Unpacker.uint, "ends too early"),
        (uint(9) + b"12345678", Unpacker.string, "ends too early"),
        (uint(2**32 - 1), Unpacker.string, "4294967295 bytes in a libvirt call, where at most 4194304"),
        (uint(1) + b"1\0\0\1", Unpacker.string, "padding in a libvirt call that is not zero"),
        (uint(2) + b"\xff\xfe\0\0", Unpacker.string, "not UTF-8"),
        (uint(3) + b"a\0b\0", Unpacker.string, "with a zero byte in it"),
        (uint(2) + b"1234", Unpacker.optional_string, "neither 0 nor 1"),
        (b"1", Unpacker.end, "1 bytes too many"),
    ],
)
def test_anything_else_is_refused(data: bytes, take: Callable[[Unpacker], object], text: str) -> None:
    with pytest.raises(ProtocolViolation, match=text):
        take(Unpacker(data))
