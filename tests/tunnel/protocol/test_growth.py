"""A sender uses more of its window when the line holds more, and only then."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbdtun.tunnel.protocol.growth import BULK, START, URGENT, Appetite, Growth, Spare
from nbdtun.tunnel.protocol.outbound import FULL, Outbound
from nbdtun.tunnel.protocol.slab import SlabPool
from tests.tunnel.stage.reading import reading

MIB = 1 << 20
WINDOW = 64 * MIB
GIGABIT = 125_000_000


class Line:
    """A sender that always has data, and a line that takes ``rate`` bytes a second and has a ``round_trip`` in seconds."""

    def __init__(self, rate: float, round_trip: float, window: int = WINDOW, receiver: float = 1e12, appetite: Appetite = BULK) -> None:
        self.growth = Growth(window, appetite)
        self._rate, self._round_trip, self._receiver = rate, round_trip, receiver
        self._acked, self._now = 0.0, 0.0

    def run(self, seconds: float) -> int:
        """Send for so long; the limit then."""
        end = self._now + seconds
        while self._now < end:
            rate = min(self._rate, self._receiver, self.growth.limit / self._round_trip)
            self._now += MIB / rate
            self._acked += MIB
            self.growth.waited = True  # whatever comes first, there is always more
            self.growth.delivered(int(self._acked), self._now, self._round_trip)
        return self.growth.limit


def test_several_processes_have_no_more_than_one() -> None:
    spare = Spare(100)
    assert [spare.share(2), spare.left] == [33, 34]
    assert [Spare(100).share(0), Spare(0).share(3)] == [100, 0]


def test_a_long_line_is_filled() -> None:
    limit = Line(GIGABIT, 0.150).run(3)
    held = GIGABIT * 0.150
    assert 1.8 * held < limit < 2.2 * held


def test_a_short_line_needs_no_more_than_at_the_beginning() -> None:
    assert Line(GIGABIT, 0.020).run(3) == START


def test_an_urgent_one_keeps_little_more_than_its_line_holds() -> None:
    """A guest that stands still waits for all of it."""
    slow = Line(100_000_000 / 8, 0.050, appetite=URGENT).run(5)
    assert slow == URGENT.start
    held = GIGABIT * 0.150
    assert held < Line(GIGABIT, 0.150, appetite=URGENT).run(5) < held + 1.1 * URGENT.more


def test_what_comes_at_once_after_a_lost_packet_is_no_sign_of_a_larger_line() -> None:
    """Nothing is acknowledged until it has been sent again, and then all that came behind it is."""
    growth, held = Growth(WINDOW, URGENT), 5 * MIB
    acked = 0
    for trip in range(40):
        acked += 0 if trip % 4 == 2 else 2 * held if trip % 4 == 3 else held
        growth.waited = True
        growth.delivered(acked, trip * 0.05, 0.05)
    assert growth.limit <= held + URGENT.more


def test_a_line_longer_than_the_window_gets_the_window() -> None:
    assert Line(10 * GIGABIT, 0.3).run(5) == WINDOW


def test_a_slow_disk_at_the_other_end_gets_no_more() -> None:
    assert Line(GIGABIT, 0.150, receiver=20_000_000).run(5) == START


def test_a_small_window_never_grows() -> None:
    assert Line(GIGABIT, 0.150, window=MIB).run(3) == MIB


def test_a_sender_that_never_had_to_wait_needs_no_more() -> None:
    growth = Growth(WINDOW)
    for second in range(10):
        growth.delivered(second * 100 * MIB, float(second), 0.5)
    assert growth.limit == START


def test_a_new_link_measures_anew_and_keeps_the_limit() -> None:
    line = Line(GIGABIT, 0.150)
    limit = line.run(3)
    line.growth.begin()
    line.growth.waited = True
    line.growth.delivered(10_000 * MIB, 1e6, 0.150)  # far from the last measurement: no rate can be told
    assert line.growth.limit == limit


def test_a_full_window_is_read_into_again_once_it_has_grown() -> None:
    outbound = Outbound(WINDOW, SlabPool())
    while outbound.read(reading(b"x" * MIB)) != FULL:
        outbound.next_frame()
        outbound.leaving = False
    assert outbound.end <= START < outbound.end + 2 * MIB
    assert not outbound.roomy
    outbound.growth.delivered(0, 0.0, 0.1)
    assert outbound.read(reading(b"x")) == FULL
    outbound.growth.delivered(START, 0.1, 0.1)
    assert outbound.roomy
    assert outbound.growth.limit == 2 * START


def test_an_urgent_one_believes_no_single_round_trip() -> None:
    growth, held = Growth(WINDOW, URGENT), 5 * MIB
    growth.delivered(0, 0.0, 0.1)
    for trip in (1, 2):
        growth.waited = True
        growth.delivered(trip * held, trip * 0.1, 0.1)
        assert growth.limit == (URGENT.start if trip == 1 else held + URGENT.more)


@given(
    window=st.integers(64 * 1024, 1 << 30), rounds=st.lists(st.tuples(st.integers(0, 1 << 40), st.floats(0, 1e6), st.floats(0.002, 1e6)))
)
def test_a_limit_only_grows_and_never_exceeds_the_window(window: int, rounds: list[tuple[int, float, float]]) -> None:
    growth = Growth(window)
    acked, now = 0, 0.0
    for more, pause, round_trip in rounds:
        before, growth.waited = growth.limit, True
        acked, now = acked + more, now + pause
        growth.delivered(acked, now, round_trip)
        assert before <= growth.limit <= window


@given(st.lists(st.integers(64 * 1024, 1 << 30)))
def test_all_windows_together_exceed_the_first_bytes_by_no_more_than_the_spare(wanted: list[int]) -> None:
    spare = Spare(100 * MIB)
    lent = [spare.lend(each) for each in wanted]
    assert all(min(each, START) <= given <= each for each, given in zip(wanted, lent, strict=True))
    assert sum(max(0, each - START) for each in lent) <= 100 * MIB
    for each in lent:
        spare.give_back(each)
    assert spare.left == 100 * MIB
    assert repr(spare) == f"<Spare left={100 * MIB}>"
