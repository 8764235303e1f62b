from __future__ import annotations

import zlib
from typing import Any

import pytest

from nbdtun.amp import Refused
from nbdtun.reach.commands import MAX_JSON, Bytes, Object


def test_a_large_object_crosses() -> None:
    plan = {"disks": [{"path": f"/srv/vm/{number}.qcow2"} for number in range(10_000)]}
    assert Object().fromString(Object().toString(plan)) == plan


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        zlib.compress(b"[]"),
        zlib.compress(b"{"),
        zlib.compress(b"[" * 100_000),
        zlib.compress(b"{}")[:-1],
        zlib.compress(b'{"a":"' + bytes(MAX_JSON) + b'"}'),
    ],
)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="not a JSON object"):
        Object().fromString(data)


def test_what_cannot_cross_is_noticed_at_home() -> None:
    import random

    noise: dict[str, Any] = {"noise": random.Random(1).randbytes(100_000).hex()}
    with pytest.raises(ValueError, match="too large for the dialogue"):
        Object().toString(noise)


def test_bytes_have_a_limit() -> None:
    assert Bytes(3).fromString(b"abc") == b"abc"
    with pytest.raises(Refused, match="4 bytes are too many"):
        Bytes(3).fromString(b"abcd")
