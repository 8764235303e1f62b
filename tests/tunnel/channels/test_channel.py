"""The life of a channel, played at both ends at once."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from nbdtun.tunnel.protocol.outbound import PIECE
from nbdtun.tunnel.settings import Terms
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.stage import Stage
from tests.tunnel.stage.stranger import Stranger


class TestWholeLives:
    def test_bytes_go_both_ways_and_both_ends_end(self, stage: Stage) -> None:
        near, far = stage.meet()
        ends = stage.ending()
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

    def test_a_target_that_is_reset_in_the_middle_has_not_ended(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        """A truncated stream must not look whole."""
        monkeypatch.setattr("tests.tunnel.stage.program.pair", tcp_pair)
        near, far = stage.meet()
        near_end, far_end = stage.ending()
        far.send(b"the first half")
        stage.rest()
        far.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()
        stage.pass_time(1)
        line = "the destination's connection to its local program failed: Connection reset by peer [reset]"
        assert [error.line if error else None for error in (*near_end, *far_end)] == [line, line]
        assert bytes(near.got) == b"the first half"
        stage.assert_all_gone()

    def test_the_end_of_a_saturated_peer_is_acknowledged_at_once(self, stage: Stage) -> None:
        """As long as there is always data to send, an acknowledgement has to travel with it."""
        near, far = stage.meet()
        far.send(bytes(50_000_000))
        stage.cable.line.back.chunk = 20_000  # so that there are always bytes that have to wait
        for _ in range(20):
            stage.crank.turn()
        near.shut()
        for _ in range(200):
            stage.crank.turn()
            assert far.to_send, "it was never saturated"
            if stage.near.outbound.done:
                break
        assert stage.near.outbound.done

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
        assert stage.source.ledger.whole.resumes == stage.far.resumes == 1
        near.shut()
        far.shut()
        stage.pass_time(1)
        stage.assert_all_gone()


class TestCuts:
    def test_many_cuts_in_a_row(self, stage: Stage) -> None:
        near, far = stage.meet()
        data = noise(600_000)
        for start in range(0, len(data), 50_000):
            near.send(data[start : start + 50_000])
            far.send(data[start : start + 50_000])
            stage.crank.turn()
            stage.cable.cut()
        stage.pass_time(5)
        assert far.got == near.got == data

    def test_a_cut_in_the_middle_of_a_frame(self, stage: Stage) -> None:
        near, far = stage.meet()
        stage.cable.line.cut_after = stage.cable.line.carried + 50_000
        near.send(noise(200_000))
        stage.pass_time(1)
        assert far.got == noise(200_000)
        assert stage.source.ledger.whole.resumes == 1

    def test_replayed_counts_the_bytes_that_are_sent_again(self, stage: Stage) -> None:
        near, far = stage.meet()
        near.send(noise(10_000))
        stage.pass_time(0.1)  # acknowledged
        stage.cable.line.stall()
        near.send(noise(30_000, 2))
        stage.rest()
        stage.cable.cut()
        stage.pass_time(1)
        assert far.got == noise(10_000) + noise(30_000, 2)
        assert stage.source.ledger.whole.replayed == 30_000
        assert stage.far.replayed == 0

    def test_replayed_does_not_count_what_has_arrived(self, stage: Stage) -> None:
        """Acknowledged in part, received in full: nothing is sent again."""
        near, far = stage.meet()
        far.reads = False
        near.send(noise(240_000))  # more than a local socket takes
        stage.pass_time(0.1)
        assert 0 < stage.near.outbound.acked < 240_000
        stage.cable.cut()
        stage.pass_time(1)
        assert stage.source.ledger.whole.replayed == 0
        far.reads = True
        stage.pass_time(1)
        assert far.got == noise(240_000)

    def test_a_cut_while_the_ending_is_on_its_way(self, stage: Stage) -> None:
        """FIN, its acknowledgement and BYE are lost one after the other; each time both ends come to the same end."""
        for lost in range(0, 200, 8):
            near, far = stage.meet()
            ends = stage.ending()
            near.send(b"q" * 10).shut()
            far.send(b"a" * 20).shut()
            stage.cable.line.cut_after = stage.cable.line.carried + lost
            stage.pass_time(3)
            assert (bytes(near.got), bytes(far.got)) == (b"a" * 20, b"q" * 10), lost
            assert ends == ([None], [None]), lost
        stage.assert_all_gone()

    def test_when_the_last_word_is_lost_the_source_asks_again(self, stage: Stage) -> None:
        near, far = stage.meet()
        ends = stage.ending()
        line = stage.cable.line
        near.shut()
        far.shut()
        line.there.stalled = False
        while stage.destination.channels:
            stage.crank.turn()
            stage.crank.advance(0.01)
            line.back.stalled = bool(stage.far.outbound.done) if stage.destination.channels else True
        line.cut()
        stage.pass_time(1)
        assert ends == ([None], [None])
        assert stage.cable.attempts == 2
        stage.assert_all_gone()

    def test_the_tail_of_a_stream_survives_a_program_that_is_gone(self, stage: Stage) -> None:
        """As QEMU ends its migration stream: it writes the rest and closes, with the link down."""
        near, far = stage.meet()
        stage.cable.cut()
        near.send(noise(150_000))
        stage.crank.turn()
        near.close()
        stage.pass_time(2)
        assert far.got == noise(150_000)
        assert far.got_end

    def test_bytes_behind_the_cause_of_a_loss_are_not_taken_twice(
        self, make_stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        In one piece the source reads two frames; that it acknowledges the first finds the link broken, and it dials again.
        The second, taken after that, would come once more on the new link.
        """
        stage = make_stage(Terms(window=1 << 20))
        near, far = stage.meet()
        far.send(noise(200_000))
        stage.rest()
        stage.cable.line.back.stalled = True
        for seed in (2, 3):
            far.send(noise(60_000, seed))
            stage.rest()

        def broken(data: memoryview) -> int:
            raise BrokenPipeError

        link = stage.near.link
        assert link is not None
        monkeypatch.setattr(link.wire, "write", broken)
        stage.cable.line.back.stalled = False
        stage.pass_time(1)
        assert stage.source.ledger.whole.resumes == 1
        assert near.got == noise(200_000) + noise(60_000, 2) + noise(60_000, 3)

    def test_a_link_that_breaks_as_it_begins(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        near, far = stage.meet()
        near.send(b"before")
        stage.rest()
        stage.cable.cut()
        near.send(b", after")
        stage.cable.next_cut = iter([300, 330, 350, 370, *[None] * 9]).__next__  # within the answer, and right behind it
        stage.pass_time(5)
        assert bytes(far.got) == b"before, after"

    def test_an_old_connection_lingers_while_a_new_one_comes(self, stage: Stage) -> None:
        near, far = stage.meet()
        old = stage.cable.line
        old.stall()
        near.send(noise(100_000))
        far.send(noise(100_000, 2))
        stage.pass_time(40)  # the source finds it dead, and dials again
        old.stall(False)
        stage.pass_time(1)
        assert far.got == noise(100_000)
        assert near.got == noise(100_000, 2)
        assert stage.source.ledger.whole.resumes == 1

    def test_an_old_request_comes_late(self, stage: Stage) -> None:
        """It was held up so long that the source gave up waiting and has been served on another connection."""
        near, far = stage.meet()
        near.send(b"one ")
        far.send(b"uno ")
        stage.rest()
        stage.cable.cut()
        stage.pass_time(0.1)
        held = stage.cable.line
        held.stall()
        stage.cable.cut() if held.carried else None
        near.send(b"two ")
        far.send(b"due ")
        stage.pass_time(60)
        held.stall(False)
        near.send(b"three")
        far.send(b"tre")
        stage.pass_time(60)
        assert bytes(far.got) == b"one two three"
        assert bytes(near.got) == b"uno due tre"


class TestWindow:
    def test_a_reader_that_has_stopped_stops_the_sender(self, make_stage: Callable[..., Stage]) -> None:
        window = 256 * 1024
        stage = make_stage(Terms(window=window))
        near, far = stage.meet()
        far.reads = False
        near.send(noise(4_000_000))
        stage.pass_time(1)
        kernel = 2 * 300_000  # what the sockets of both local programs hold
        assert near.sent < window + kernel
        assert stage.near.outbound.kept <= window + PIECE
        assert len(stage.far.inbound.backlog) <= window
        assert stage.near_pool.most <= 3
        assert stage.far_pool.most <= 3
        far.reads = True
        stage.pass_time(1)
        assert far.got == noise(4_000_000)

    def test_a_stalled_direction_does_not_stall_the_other(self, stage: Stage) -> None:
        near, far = stage.meet()
        far.reads = False
        near.send(noise(2_000_000))
        far.send(noise(2_000_000, 2))
        stage.pass_time(2)
        assert near.got == noise(2_000_000, 2)

    def test_a_stalled_channel_outlives_the_link_timeout(self, stage: Stage) -> None:
        """Nobody has anything to say for a long time, and still says that he is there."""
        near, far = stage.meet()
        far.reads = False
        near.send(noise(2_000_000))
        stage.pass_time(10 * stage.terms.link_timeout)
        assert stage.source.ledger.whole.resumes == 0
        far.reads = True
        stage.pass_time(1)
        assert far.got == noise(2_000_000)

    def test_an_idle_channel_holds_no_memory(self, stage: Stage) -> None:
        near, far = stage.meet()
        assert (stage.near_pool.lent, stage.far_pool.lent) == (0, 0)
        near.send(noise(500_000))
        far.send(noise(500_000, 2))
        stage.pass_time(1)
        assert (stage.near_pool.lent, stage.far_pool.lent) == (0, 0)
        stage.cable.cut()
        stage.pass_time(1)
        assert (stage.near_pool.lent, stage.far_pool.lent) == (0, 0)

    def test_a_full_window_is_within_what_the_other_end_takes_after_a_cut(self, stage: Stage) -> None:
        near, far = stage.meet()
        far.reads = False
        near.send(noise(2_000_000))
        for _ in range(3):
            stage.pass_time(0.5)
            stage.cable.cut()
        stage.pass_time(1)
        assert len(stage.source.channels) == 1
        far.reads = True
        stage.pass_time(2)
        assert far.got == noise(2_000_000)


class TestOpeningRaces:
    def test_the_connection_breaks_while_the_answer_is_written(self, stage: Stage) -> None:
        stage.target.delay = 1.0
        Stranger(stage).open()
        stage.cable.cut()
        stage.crank.advance(1.0)  # the target is there before anybody has looked at the connection
        stage.rest()
        assert len(stage.destination.channels) == 1
        stage.pass_time(stage.terms.resume_window + 2)
        stage.assert_all_gone()

    def test_the_answer_is_lost(self, stage: Stage) -> None:
        stage.cable.next_cut = iter([130, 140, 150, None, None]).__next__
        near = stage.arrive()
        near.send(b"hello")
        stage.pass_time(5)
        assert stage.cable.attempts > 1
        assert len(stage.target.programs) == 1
        assert bytes(stage.target.programs[0].got) == b"hello"

    def test_a_channel_that_is_ended_while_it_is_opened_is_not_left_behind(self, stage: Stage) -> None:
        stage.target.delay = 1.0
        near = stage.arrive()
        stage.pass_time(0.5)
        Deferred.fromCoroutine(stage.source.stop())
        stage.rest()
        assert near.got_end
        stage.pass_time(stage.terms.resume_window + 5)
        stage.assert_all_gone()
