"""A channel that ends before its time: whoever gives it up, both ends and both programs are told, and nothing is left."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import ChannelReset, LinkLost
from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.settings import Terms
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.stage import Stage


class TestFailing:
    @pytest.mark.parametrize("end", ["source", "destination"])
    def test_a_reset_is_told_to_the_other_end(self, stage: Stage, end: str) -> None:
        near, far = stage.meet()
        ends = stage.ending()
        (stage.near if end == "source" else stage.far).reset(ChannelReset("enough"))
        stage.rest()
        assert [str(error) for error in ends[0] + ends[1]] == ["enough", "enough"]
        assert near.got_end
        assert far.got_end
        stage.pass_time(20)
        stage.assert_all_gone()

    @pytest.mark.parametrize("end", ["source", "destination"])
    def test_a_reset_arrives_although_bytes_are_under_way_to_who_says_it(self, stage: Stage, end: str) -> None:
        """A socket that is closed with bytes unread in it resets its connection, and the other end never reads what came before."""
        stage.cable.pair = tcp_pair
        near, far = stage.meet()
        ends = stage.ending()
        for flow in (stage.cable.line.there, stage.cable.line.back):
            flow.chunk = 4096
        near.send(noise(5_000_000))
        far.send(noise(5_000_000, 2))
        for _ in range(20):
            stage.crank.turn()
        (stage.near if end == "source" else stage.far).reset(ChannelReset("enough"))
        stage.pass_time(1)
        assert [str(error) for error in ends[0] + ends[1]] == ["enough", "enough"]
        stage.pass_time(20)
        stage.assert_all_gone()

    def test_a_reset_while_the_source_is_severed_is_told_with_the_next_link(self, stage: Stage) -> None:
        near, _ = stage.meet()
        ends = stage.ending()
        stage.cable.refuses = True
        stage.cable.cut()
        stage.rest()
        stage.near.reset(ChannelReset("enough"))
        stage.pass_time(3)
        assert near.got_end
        assert ends[0] + ends[1] == []
        stage.cable.refuses = False
        stage.pass_time(5)
        assert [str(error) for error in ends[0] + ends[1]] == ["enough", "enough"]
        stage.pass_time(20)
        stage.assert_all_gone()

    def test_a_reset_while_the_source_is_severed_holds_out_as_long_as_the_channel_would(self, stage: Stage) -> None:
        stage.meet()
        ends = stage.ending()
        stage.cable.refuses = True
        stage.cable.cut()
        stage.rest()
        stage.near.reset(ChannelReset("enough"))
        stage.pass_time(stage.terms.resume_window + 2)
        assert str(ends[0][0]) == "enough"
        assert isinstance(ends[1][0], LinkLost)
        stage.assert_all_gone()

    def test_a_reset_while_the_destination_is_severed_is_told_when_the_source_comes_back(self, stage: Stage) -> None:
        stage.meet()
        ends = stage.ending()
        stage.cable.refuses = True
        stage.cable.cut()
        stage.rest()
        stage.far.reset(ChannelReset("the VM is gone"))
        stage.cable.refuses = False
        stage.pass_time(5)
        assert [str(error) for error in ends[0] + ends[1]] == ["the VM is gone", "the VM is gone"]
        stage.assert_all_gone()

    def test_no_link_for_too_long(self, stage: Stage) -> None:
        near, far = stage.meet()
        ends = stage.ending()
        near.send(b"unheard")
        stage.cable.refuses = True
        stage.cable.cut()
        stage.pass_time(stage.terms.resume_window - 2)
        assert not near.got_end
        stage.pass_time(5)
        assert str(ends[0][0]).startswith("no new link within 300 s: the cable: ")
        assert str(ends[1][0]) == "no new link within 300 s"
        assert near.got_end
        assert far.got_end
        stage.assert_all_gone()

    def test_a_destination_that_gives_up_first_ends_the_source_too(self, make_stage: Callable[..., Stage]) -> None:
        stage = make_stage(Terms(window=1 << 18), Terms(window=1 << 18, resume_window=10))
        near, _ = stage.meet()
        ends = stage.ending()
        stage.cable.refuses = True
        stage.cable.cut()
        stage.pass_time(12)
        stage.cable.refuses = False
        stage.pass_time(5)
        assert str(ends[0][0]) == "no new link within 10 s"
        assert near.got_end
        stage.assert_all_gone()

    def test_a_destination_that_has_forgotten_the_channel(self, stage: Stage) -> None:
        near, _ = stage.meet()
        (failures, _) = stage.ending()
        stage.destination._entries.clear()
        stage.cable.cut()
        stage.pass_time(2)
        assert "has no channel" in str(failures[0])
        assert near.got_end

    def test_a_local_program_that_is_gone_ends_what_cannot_go_on(self, stage: Stage) -> None:
        near, far = stage.meet()
        ends = stage.ending()
        far.close()
        near.send(noise(500_000))
        stage.pass_time(1)
        assert near.got_end
        stage.pass_time(20)
        assert str(ends[0][0]) == str(ends[1][0]) == "the local program closed its socket"
        stage.assert_all_gone()

    def test_a_violation_is_told_to_who_has_committed_it(self, stage: Stage) -> None:
        stage.meet()
        ends = stage.ending()
        stage.near.outbound.unsent.clear()
        link = stage.near.link
        assert link is not None
        link._control += encode(Kind.DATA, 7, b"not next")
        link.pump()
        stage.rest()
        assert ends[1][0] is not None
        assert ends[1][0].code == "protocol"
        assert str(ends[0][0]) == str(ends[1][0]) == "data for offset 7 arrived, but 0 is next"
        stage.pass_time(20)
        stage.assert_all_gone()

    def test_stopping_while_severed_ends_at_once(self, stage: Stage) -> None:
        near, _ = stage.meet()
        (ends, _) = stage.ending()
        stage.cable.refuses = True
        stage.cable.cut()
        stage.rest()
        Deferred.fromCoroutine(stage.source.stop())
        stage.rest()
        assert str(ends[0]) == "the source was stopped"
        assert near.got_end
        attempts = stage.cable.attempts
        stage.pass_time(stage.terms.resume_window + 2)
        assert stage.cable.attempts == attempts
        stage.assert_all_gone()

    def test_stopping_in_the_middle_of_traffic(self, stage: Stage) -> None:
        near, far = stage.meet()
        near.send(noise(5_000_000))
        far.send(noise(5_000_000))
        for _ in range(4):
            stage.crank.turn()
        Deferred.fromCoroutine(stage.source.stop())
        stage.pass_time(1)
        assert not stage.destination.channels
        stage.pass_time(20)
        stage.assert_all_gone()

    def test_an_ending_is_told_once(self, stage: Stage) -> None:
        stage.meet()
        channel = stage.near
        (ends, _) = stage.ending()
        for word in ("first", "second"):
            channel.reset(ChannelReset(word))
            channel.refused(ChannelReset(word))
        stage.pass_time(20)
        assert [str(error) for error in ends] == ["first"]
