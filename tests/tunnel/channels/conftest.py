"""Fixtures of the tests of channels."""

from __future__ import annotations

import pytest

from nbdtun.tunnel.protocol.frames import Kind
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger


@pytest.fixture
def opened(stage: Stage) -> Stranger:
    stranger = Stranger(stage).open()
    stranger.hear_box()
    assert [kind for kind, _, _ in stranger.hear_frames()] == [Kind.ACK, Kind.PING]
    return stranger
