"""What a peer that has opened a channel may try."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from nbdtun.errors import ChannelReset
from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.settings import Terms
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger


class TestHostilePeers:
    def opened(self, stage: Stage) -> Stranger:
        stranger = Stranger(stage).open()
        stranger.hear_box()
        return stranger

    @pytest.mark.parametrize(
        "frame",
        [
            encode(Kind.DATA, 1, b"x"),
            encode(Kind.ACK, 1),
            encode(Kind.FIN, 1),
            encode(Kind.FIN, 0) + encode(Kind.DATA, 0, b"x"),
            encode(Kind.FIN, 0) + encode(Kind.FIN, 0),
            b"\xff" * 16,
        ],
    )
    def test_a_violation_ends_the_channel_with_a_reason(self, stage: Stage, frame: bytes) -> None:
        stranger = self.opened(stage).say(frame)
        assert stranger.hear_frames()[-1][0] is Kind.RESET
        assert stranger.closed
        assert stage.target.programs[0].got_end
        stranger.hang_up()
        stage.assert_all_gone()

    def test_more_than_the_window(self, stage: Stage) -> None:
        stage.target.delay = 0.01
        stranger = Stranger(stage).open()
        stage.pass_time(0.1)
        stage.target.programs[0].reads = False
        for offset in range(0, 1_000_000, 100_000):
            stranger.say(encode(Kind.DATA, offset, bytes(100_000)))
        stage.pass_time(2)  # the local socket is full, so the link is only looked at now and then
        assert stage.far_pool.most <= 3
        stage.target.programs[0].reads = True
        stage.pass_time(20)
        stage.assert_all_gone()

    def test_nothing_behind_a_violation_is_heard(self, stage: Stage) -> None:
        """Each further one would put another answer into memory for somebody who does not read."""
        stranger = self.opened(stage)
        stranger.program.reads = False
        channel = stage.far
        link = channel.link
        assert link is not None
        stage.target.programs[0].send(noise(3_000_000))
        stage.rest()
        stranger.say(encode(Kind.ACK, 1 << 40) * 10_000)
        assert len(link._control) < 2000
        stage.pass_time(60)
        stage.assert_all_gone()

    def test_who_talks_on_but_never_reads_is_left(self, stage: Stage) -> None:
        stranger = self.half_sent(stage)
        stage.far.reset(ChannelReset("enough"))
        for _ in range(30):
            stage.pass_time(1)
            stranger.say(encode(Kind.PING, 1))
        assert not stage.crank.getReaders()
        stage.cable.cut()
        stage.assert_all_gone()

    def half_sent(self, stage: Stage) -> Stranger:
        """Somebody who has read the first part of a long frame only."""
        stage.cable.room = 8192
        stranger = self.opened(stage)
        stage.cable.line.back.stalled = True
        stage.target.programs[0].send(b"m" * 100_000)
        stage.rest()
        assert stage.far.link is not None
        assert stage.far.link._out is not None, "no frame is half sent"
        return stranger

    def reads_on(self, stage: Stage, stranger: Stranger) -> bytearray:
        """Another channel has bytes of its own; then the stranger reads what is left of his frame."""
        line = stage.cable.line
        Stranger(stage).open(b"o" * 16)
        stage.target.programs[1].send(b"SECRET" * 100_000)
        stage.rest()
        line.back.stalled = False
        stage.pass_time(1)
        return stranger.program.got

    def test_an_acknowledgement_of_what_is_still_being_sent_gets_nobody_elses_bytes(self, make_stage: Callable[..., Stage]) -> None:
        """Were the memory of the rest lent to another channel now, the peer would read that one's bytes."""
        stage = make_stage(Terms(window=1 << 20))
        stranger = self.half_sent(stage)
        stranger.say(encode(Kind.ACK, stage.far.outbound._promised))
        assert b"SECRET" not in self.reads_on(stage, stranger)

    @pytest.mark.parametrize("ends_by", ["a reset here", "a reset there", "a violation", "BYE"])
    def test_a_half_sent_frame_of_an_ended_channel_shows_nobody_elses_bytes(self, make_stage: Callable[..., Stage], ends_by: str) -> None:
        stage = make_stage(Terms(window=1 << 20))
        stranger = self.half_sent(stage)
        if ends_by == "a reset here":
            stage.far.reset(ChannelReset("enough"))
        else:
            stranger.say({"a reset there": encode(Kind.RESET, 0), "BYE": encode(Kind.BYE, 0), "a violation": encode(Kind.FIN, 7)}[ends_by])
        assert b"SECRET" not in self.reads_on(stage, stranger)

    @pytest.mark.parametrize("there", ["at the destination", "at the source"])
    def test_a_bye_that_is_none_is_a_violation(self, stage: Stage, there: str) -> None:
        """Only the destination says it, and only when all is complete."""
        if there == "at the destination":
            stranger = Stranger(stage).open()
            stranger.hear_box()
            stranger.say(encode(Kind.BYE, 0))
            assert stranger.hear_frames()[-1][2].startswith(b"protocol ")
            return
        near, _ = stage.meet()
        channel = stage.near
        channel.bye_received()
        stage.pass_time(1)
        assert near.gone is not None or near.got_end
        assert str(channel.error) == "the other end closed the channel before it was complete"
