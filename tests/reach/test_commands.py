from __future__ import annotations

import pytest

from nbdtun.amp import Refused
from nbdtun.reach.commands import Bytes


def test_bytes_have_a_limit() -> None:
    assert Bytes(3).fromString(b"abc") == b"abc"
    with pytest.raises(Refused, match="4 bytes are too many"):
        Bytes(3).fromString(b"abcd")
