"""The life of a channel, played at both ends at once."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from nbdtun.errors import ChannelReset, LinkLost, TunnelError
from nbdtun.tunnel.runtime import Terms
from tests.tunnel.stage import Stage


def noise(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(count)


def ending(stage: Stage) -> tuple[list[TunnelError | None], list[TunnelError | None]]:
    """How the source's and the destination's channel will have ended, once they have."""
    near: list[TunnelError | None] = []
    far: list[TunnelError | None] = []
    stage.near.ended.addCallback(near.append)
    stage.far.ended.addCallback(far.append)
    return near, far


class TestWholeLives:
    def test_bytes_go_both_ways_and_both_ends_end(self, stage: Stage) -> None:
        near, far = stage.meet()
        ends = ending(stage)
        near.send(noise(3_000_000, 1)).shut()
        far.send(noise(2_000_000, 2)).shut()
        stage.pass_time(1)
        assert far.got == noise(3_000_000, 1)
        assert near.got == noise(2_000_000, 2)
        assert (near.got_end, far.got_end) == (True, True)
        assert ends == ([None], [None])
        stage.assert_all_gone()

    def test_a_half_close_leaves_the_other_direction_open(self, stage: Stage) -> None:
        near, far = stage.meet()
        near.send(b"the question").shut()
        stage.rest()
        assert far.got_end
        assert not near.got_end
        far.send(b"the answer").shut()
        stage.pass_time(1)
        assert bytes(near.got) == b"the answer"
        stage.assert_all_gone()

    def test_a_cut_is_not_noticed_by_the_programs(self, stage: Stage) -> None:
        near, far = stage.meet()
        near.send(noise(100_000))
        stage.rest()
        stage.cable.cut()
        near.send(noise(100_000, 2))
        far.send(b"still here")
        stage.pass_time(2)
        assert far.got == noise(100_000) + noise(100_000, 2)
        assert bytes(near.got) == b"still here"
        assert stage.source.resumes == stage.far.resumes == 1
        near.shut()
        far.shut()
        stage.pass_time(1)
        stage.assert_all_gone()
