"""A heartbeat alone, with a clock of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.tunnel.channels.heartbeat import BEATS, KEYS_END, KEYS_SERVE, PROGRESS, Heartbeat

TIMEOUT = 15.0


class Heart:
    """A heartbeat, and its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.beat = Heartbeat(TIMEOUT, lambda: self.now)

    def pass_time(self, beats: float = 1, *, partial: int = 0, carried: int = 0, closing: bool = False) -> str:
        """What is wrong after so many beats' time, and nothing heard since; empty if nothing is."""
        self.now += beats * self.beat.interval
        trouble = self.beat.trouble(partial, carried, closing=closing)
        self.beat.rest()
        return str(trouble or "")


#: Between two beats: how late the next one is, whether something came, and how much of a record.
INTERVALS = st.lists(st.tuples(st.floats(0, 1.5), st.booleans(), st.sampled_from([0, PROGRESS - 1, PROGRESS, 1 << 18])), max_size=40)


@given(INTERVALS)
def test_it_is_dead_after_its_timeout_of_silence_and_not_before(intervals: list[tuple[float, bool, int]]) -> None:
    heart = Heart()
    heart.pass_time(0)
    alive_at = heart.now
    for late, heard, partial in intervals:
        heart.beat.heard = heard
        trouble = heart.pass_time(1 + late, partial=partial)
        if heard or partial >= PROGRESS:
            alive_at = heart.now
        assert trouble == ("nothing was received for 15 s" if heart.now - alive_at >= TIMEOUT else "")


def test_a_new_one_counts_as_heard_until_its_first_beat() -> None:
    heart = Heart()
    assert [heart.pass_time() for _ in range(BEATS)] == [""] * BEATS
    assert heart.pass_time() == "nothing was received for 15 s"


def test_it_speaks_at_each_beat_at_which_it_has_said_nothing() -> None:
    heart = Heart()
    assert heart.beat.spoke
    heart.pass_time()
    assert (heart.beat.heard, heart.beat.spoke) == (False, False)
    assert heart.beat.interval * BEATS == TIMEOUT


def test_what_comes_while_it_closes_counts_no_more() -> None:
    heart = Heart()
    for _ in range(BEATS - 1):
        heart.beat.heard = True
        assert heart.pass_time(closing=True, partial=1 << 18) == ""
    heart.beat.heard = True
    assert heart.pass_time(closing=True) == "nothing was received for 15 s"


@pytest.mark.parametrize("before", [0, 7])
def test_keys_wear_out_where_they_are_watched(before: int) -> None:
    heart = Heart()
    heart.beat.heard = True
    assert heart.pass_time(carried=2 * KEYS_END) == ""
    heart.beat.watch_keys(before)
    assert not heart.beat.worn(before + KEYS_SERVE - 1)
    assert heart.beat.worn(before + KEYS_SERVE)
    heart.beat.heard = True
    assert heart.pass_time(carried=before + KEYS_END - 1) == ""
    heart.beat.heard = True
    assert heart.pass_time(carried=before + KEYS_END) == "its keys have encrypted too much data"


def test_how_it_is_shown() -> None:
    assert repr(Heart().beat) == "<Heartbeat heard=True spoke=True>"
