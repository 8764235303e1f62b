from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp

from nbdtun.migration.arguments import Number, Text
from nbdtun.migration.control.commands import SessionId


@pytest.mark.parametrize(
    ("argument", "data"),
    [
        (SessionId(), b"x" * 32),
        (SessionId(), b"0" * 31),
        (SessionId(), b"0" * 32 + b"\n"),
        (SessionId(), "é".encode() * 16),
        (Number(), b"-1"),
        (Number(), b"1" * 21),
        (Number(5), b"6"),
        (Number(), b""),
        (Number(), "²".encode()),
        (Text(3), b"four"),
        (Text(), b"two\nlines"),
        (Text(), b"\x1b[2J"),
    ],
)
def test_what_is_out_of_bounds_is_refused(argument: Any, data: bytes) -> None:
    with pytest.raises(amp.RemoteAmpError) as caught:
        argument.fromString(data)
    assert caught.value.errorCode == b"protocol"
    assert caught.value.fatal


@given(st.text(max_size=255))
def test_whatever_text_is_sent_can_be_read(text: str) -> None:
    sent = Text().toString(text)
    assert len(Text().fromString(sent)) <= 255
