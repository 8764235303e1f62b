"""Large frames of a plain link do not pass through this process, if they need not."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable

import pytest

from nbdtun.errors import ChannelReset
from nbdtun.tunnel.channels.link import BULK
from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.settings import Terms
from nbdtun.tunnel.wires.pipe import Pipe
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger

MIB = 1 << 20


class TestLargeFrames:
    @pytest.fixture
    def piped(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """What went through the pipe."""
        counts: list[int] = []
        empty = Pipe.empty

        def noted(pipe: Pipe, target: int) -> int:
            counts.append(pipe.held)
            return empty(pipe, target)

        monkeypatch.setattr(Pipe, "empty", noted)
        return counts

    @pytest.mark.parametrize("reads", [True, False])
    def test_of_all_sizes_they_come_in_order(self, make_stage: Callable[..., Stage], piped: list[int], reads: bool) -> None:
        """Also where the local program is slow, and takes a part of what is in the pipe."""
        stage = make_stage(Terms(window=1 << 22))
        stranger = Stranger(stage).open(window=1 << 22)
        program = stage.target.programs[0]
        program.reads = reads
        dice, sent = random.Random(6), bytearray()
        while len(sent) < 3_000_000:
            piece = dice.randbytes(dice.choice([1, 100, 5_000, BULK - 1, BULK, 200_000, 300_000]))
            stranger.say(encode(Kind.DATA, len(sent), piece))
            sent += piece
        program.reads = True
        stage.pass_time(1)
        assert program.got == sent
        assert sum(piped) > 1_000_000
        assert stage.far.inbound.written == len(sent)

    def test_one_in_the_wrong_place_does_not_reach_the_program(self, stage: Stage, opened: Stranger, said: list[str]) -> None:
        opened.say(encode(Kind.DATA, 0, bytes(200_000))).say(encode(Kind.DATA, 300_000, b"x" * 200_000))
        stage.rest()
        assert stage.target.programs[0].got == bytes(200_000)
        assert any("data for offset 300000 arrived, but 200000 is next" in line for line in said)

    def test_the_rest_of_one_is_nobodys_when_the_channel_has_ended(self, stage: Stage, opened: Stranger, piped: list[int]) -> None:
        frame = encode(Kind.DATA, 0, b"x" * 400_000)
        opened.say(frame[:200_000])
        stage.rest()
        before = sum(piped)
        link = stage.far.link
        assert link is not None
        link._control += bytes(1 << 22)  # so that the farewell has to wait for room
        opened.program.reads = False
        stage.far.reset(ChannelReset("given up"))
        opened.program.send(frame[200_000:])
        stage.rest()
        assert sum(piped) == before

    def test_where_the_system_cannot_they_are_read(self, stage: Stage, opened: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
        def unfit(*_: object, flags: int) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(os, "splice", unfit)
        opened.say(encode(Kind.DATA, 0, b"x" * 200_000))
        stage.rest()
        assert stage.target.programs[0].got == b"x" * 200_000

    def test_a_program_that_is_gone_does_not_hold_the_other_end_up(self, stage: Stage, opened: Stranger) -> None:
        stage.target.programs[0].close()
        stage.rest()
        opened.say(encode(Kind.DATA, 0, b"x" * 200_000))
        stage.pass_time(1)
        assert (Kind.ACK, 200_000, b"") in opened.hear_frames()
