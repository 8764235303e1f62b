"""
The two streams of a channel, driven through whatever can happen between two honest ends, and lied to in between.

Pieces and windows are made small here, as the ends' slabs are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from nbdtun.errors import ProtocolViolation, ResumeRefused
from nbdtun.tunnel.protocol import inflight, outbound
from nbdtun.tunnel.protocol.frames import Kind, encode
from nbdtun.tunnel.protocol.outbound import FULL, HEADROOM, Outbound
from tests.properties.ends import LEFT, RIGHT, SLAB, End, RubbishPool, content
from tests.tunnel.stage.reading import nothing, reading

MIN_READ = 20

sides = st.sampled_from([LEFT, RIGHT])
counts = st.one_of(st.integers(1, 5), st.integers(1, 700))


class TwoEnds(RuleBasedStateMachine):
    """What honest ends do, in any order; and lies, none of which changes anything."""

    ends: list[End]

    @initialize(window=st.sampled_from([40, 150, 700, 2000]))
    def begin(self, window: int) -> None:
        self.window = window
        self.ends = [End(side, window) for side in (LEFT, RIGHT)]
        self.ends[LEFT].peer, self.ends[RIGHT].peer = self.ends[RIGHT], self.ends[LEFT]
        self.linked = True

    # What the local programs do.

    @rule(side=sides, count=counts)
    def local_write(self, side: int, count: int) -> None:
        outbound = self.ends[side].outbound
        roomy, end = outbound.roomy, outbound.end
        got = outbound.read(reading(content(side, end, count)))
        assert (got != FULL) == roomy
        if got != FULL:
            assert got
            assert outbound.end == end + got

    @rule(side=sides)
    def nothing_to_read(self, side: int) -> None:
        outbound = self.ends[side].outbound
        assert outbound.read(nothing) in (None, FULL)

    @rule(side=sides)
    def local_end(self, side: int) -> None:
        self.ends[side].outbound.finish()

    @rule(side=sides, count=counts)
    def local_read(self, side: int, count: int) -> None:
        self.ends[side].drain(count)

    @rule(side=sides, others=st.integers(0, 8))
    def others_are_busy(self, side: int, others: int) -> None:
        end = self.ends[side]
        end.inflight.busy += others - end.others
        end.others = others

    # What links do.

    @rule(side=sides, bdp=st.integers(1, 3000))
    def learn_how_far_it_is(self, side: int, bdp: int) -> None:
        self.ends[side].outbound.bdp = bdp

    @precondition(lambda self: self.linked)
    @rule(side=sides, most=counts, piggyback=st.booleans())
    def send(self, side: int, most: int, piggyback: bool) -> None:
        self.ends[side].push(most, piggyback)

    @precondition(lambda self: self.linked)
    @rule(side=sides, count=counts)
    def deliver(self, side: int, count: int) -> None:
        end = self.ends[side]
        piece = bytes(end.wire[:count])
        del end.wire[:count]
        end.peer.decoder.feed(memoryview(piece))

    @precondition(lambda self: self.linked)
    @rule(side=sides)
    def acknowledge(self, side: int) -> None:
        end = self.ends[side]
        if end.inbound.owed:
            end.control += encode(Kind.ACK, end.inbound.take_ack())

    @precondition(lambda self: self.linked)
    @rule(side=sides, most=counts, room=counts)
    def converse(self, side: int, most: int, room: int) -> None:
        """Something comes over, is read and acknowledged at once; it may be the first part of a frame only."""
        end = self.ends[side]
        self.local_write(side, most)
        self.send(side, most, False)
        self.deliver(side, 2000)
        self.local_read(end.peer.side, room)
        self.acknowledge(end.peer.side)
        self.send(end.peer.side, 2000, True)
        self.deliver(end.peer.side, 2000)

    @precondition(lambda self: self.linked)
    @rule(side=sides, back=st.integers(0, 100))
    def repeat_an_old_acknowledgement(self, side: int, back: int) -> None:
        end = self.ends[side]
        end.control += encode(Kind.ACK, max(0, end.inbound.acked - back))

    @rule()
    def cut(self) -> None:
        self.linked = False

    @rule()
    def resume(self) -> None:
        """A new link, wherever the old one was; what was on that is lost."""
        again = []
        for end in self.ends:
            again.append(end.outbound.rewind(end.peer.inbound.received))
            assert 0 <= again[-1] <= self.window
        for end in self.ends:
            end.begin()
        self.linked = True

    # Lies: each is found out, and nothing has changed.

    @rule(side=sides, more=st.integers(1, 2))
    def lie_about_what_came(self, side: int, more: int) -> None:
        """Not the whole of a frame either whose rest is still to be sent: what it lies in would be lent to somebody else."""
        end = self.ends[side]
        leaving = bool(end.frame) and end.telling > end.told
        with pytest.raises(ProtocolViolation):
            end.outbound.acknowledge((end.telling - 1 if leaving else end.told) + more)

    @rule(side=sides, away=st.integers(-500, 500).filter(bool), count=counts)
    def lie_about_an_offset(self, side: int, away: int, count: int) -> None:
        inbound = self.ends[side].inbound
        with pytest.raises(ProtocolViolation):
            inbound.accept(inbound.received + away, count)
        with pytest.raises(ProtocolViolation):
            inbound.accept_end(inbound.received + away)

    @rule(side=sides, more=st.integers(1, 500))
    def overrun_the_window(self, side: int, more: int) -> None:
        inbound = self.ends[side].inbound
        with pytest.raises(ProtocolViolation):
            inbound.accept(inbound.received, inbound.written + inbound.window - inbound.received + more)

    @rule(side=sides, count=counts)
    def send_behind_the_end(self, side: int, count: int) -> None:
        inbound = self.ends[side].inbound
        if inbound.final is not None:
            for offset in (inbound.final, inbound.received):
                with pytest.raises(ProtocolViolation):
                    inbound.accept(offset, count)
                with pytest.raises(ProtocolViolation):
                    inbound.accept_end(offset)

    @rule(side=sides, away=st.integers(1, 500))
    def resume_where_nobody_can_be(self, side: int, away: int) -> None:
        outbound = self.ends[side].outbound
        with pytest.raises(ProtocolViolation):
            outbound.rewind(outbound._promised + away)
        oldest = max(outbound.acked, outbound._resumed)
        if oldest:
            with pytest.raises(ResumeRefused):
                outbound.rewind(max(0, oldest - away))

    # What always holds.

    @invariant()
    def received_is_what_was_sent(self) -> None:
        for end in getattr(self, "ends", []):
            assert end.got == content(end.peer.side, 0, len(end.got))
            assert end.inbound.written <= end.inbound.received <= end.peer.outbound._promised

    @invariant()
    def who_keeps_something_is_busy(self) -> None:
        for end in getattr(self, "ends", []):
            assert end.inflight.busy == end.others + bool(end.outbound.kept)

    @invariant()
    def memory_is_bounded(self) -> None:
        for end in getattr(self, "ends", []):
            outbound, backlog = end.outbound, end.inbound.backlog
            assert 0 <= outbound.kept <= self.window + HEADROOM  # which a piece costs here
            assert outbound.end - outbound.acked <= self.window
            assert len(backlog) <= self.window
            usable = SLAB - MIN_READ - HEADROOM
            assert end.pool.lent <= outbound.kept // usable + 2 + len(backlog) // SLAB + 2
            if not outbound.kept and not backlog and outbound._slab is None:
                assert end.pool.lent == 0

    def teardown(self) -> None:
        """Left alone on a good link, every stream comes to its end, and nothing is left."""
        if not hasattr(self, "ends"):
            return
        self.resume()
        for side in (LEFT, RIGHT):
            self.local_write(side, 100)
            self.local_end(side)
        for _ in range(2000):
            if all(end.outbound.done and end.inbound.done for end in self.ends):
                break
            for side in (LEFT, RIGHT):
                self.acknowledge(side)
                self.send(side, 500, True)
                self.deliver(side, 500)
                self.local_read(side, 500)
        for end in self.ends:
            assert end.outbound.done
            assert end.inbound.done
            assert end.told_end
            assert end.got == content(end.peer.side, 0, end.peer.outbound.end)
            assert end.inbound.written == end.peer.outbound.end + 1
            assert end.pool.lent == 0


@contextlib.contextmanager
def small_pieces() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbound, "MIN_READ", MIN_READ)
        patch.setattr(outbound, "PIECE", HEADROOM)  # so that a small window has several
        patch.setattr(inflight, "LEAST", 30)
        yield


def test_two_ends() -> None:
    with small_pieces():
        run_state_machine_as_test(TwoEnds, settings=settings(max_examples=150, stateful_step_count=60, deadline=None))


class TestHeadroom:
    """Headers are written into the slab before their payload, where other payload may have been."""

    def test_an_end_forgets_all_at_once(self) -> None:
        pool = RubbishPool(size=SLAB)
        outbound = Outbound(10_000, pool)
        with small_pieces():
            for _ in range(20):
                outbound.read(reading(bytes(50)))
                outbound.next_frame()
            outbound.clear()
        assert pool.lent == 0
        assert outbound.kept == 0
        assert outbound.read(reading(b"more")) == FULL

    @pytest.mark.parametrize("cuts", [[1], [5, 6, 7], [31, 32, 33], [16, 90], [99]])
    def test_a_resume_within_a_piece_overwrites_only_what_has_arrived(self, cuts: list[int]) -> None:
        """Several cuts in a row, each a little later; headers lie where bytes lay that the other end has."""
        pool = RubbishPool(size=SLAB)
        outbound = Outbound(10_000, pool)
        with small_pieces():
            for start in (0, 50):
                assert outbound.read(reading(content(LEFT, start, 50))) == 50
            for cut in cuts:
                outbound.next_frame(ack=1 << 60)
                assert outbound.rewind(cut) == 100 - cut
                frame = outbound.next_frame(ack=1 << 60)
                assert frame is not None
                assert bytes(frame[HEADROOM:]) == content(LEFT, cut, 100 - cut)
                assert bytes(frame[16:32]) == encode(Kind.DATA, cut, b"")[:4] + (100 - cut).to_bytes(4, "big") + cut.to_bytes(8, "big")

    def test_a_piece_that_is_half_sent_is_not_added_to(self) -> None:
        outbound = Outbound(10_000, RubbishPool(size=SLAB))
        with small_pieces():
            for start in (0, 10):
                assert outbound.read(reading(content(LEFT, start, 10))) == 10
                frame = outbound.next_frame()
                assert frame is not None
                assert bytes(frame[16:]) == content(LEFT, start, 10)
