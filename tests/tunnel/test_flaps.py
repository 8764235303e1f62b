from __future__ import annotations

from nbdtun.tunnel.flaps import BRIEF, Flaps


def test_short_and_idle_ones_are_counted() -> None:
    flaps = Flaps()
    for now in range(3):
        flaps.linked(now, 100)
        flaps.lost(now + 0.5, 100)
    assert repr(flaps) == "<Flaps 3>"


def test_one_that_lasted_or_carried_something_ends_the_row() -> None:
    for lasted, carried in ((BRIEF, 0), (0.1, 1)):
        flaps = Flaps()
        flaps.linked(0, 0)
        flaps.lost(1, 0)
        flaps.linked(2, 0)
        flaps.lost(2 + lasted, carried)
        assert flaps.count == 0


def test_a_channel_that_never_had_one_has_lost_none() -> None:
    flaps = Flaps()
    flaps.lost(1, 0)
    assert flaps.count == 0
