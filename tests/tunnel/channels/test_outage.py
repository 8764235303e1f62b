"""The time between two links: who gets the next, and what becomes of whoever waits in vain."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import LinkLost
from nbdtun.tunnel.channels.outage import BRIEF, Flaps, Outage


class Owner:
    """Whose outage it is: it notes what it was told."""

    def __init__(self, *, dials: bool) -> None:
        self.clock = Clock()
        self.dials: list[Deferred[None]] = []
        self.cancels = 0
        self.heard: list[str] = []
        self.outage = Outage(self.clock, 30, self.dial if dials else None, lambda expired: self.heard.append(str(expired)))

    def dial(self) -> Deferred[None]:
        def cancel(_: Deferred[None]) -> None:
            self.cancels += 1

        self.dials.append(Deferred(cancel))
        self.dials[-1].addErrback(lambda _: None)
        return self.dials[-1]


def test_the_source_dials_until_there_is_a_link() -> None:
    owner = Owner(dials=True)
    assert owner.outage.redials
    assert not owner.outage.redialling
    owner.clock.advance(7)
    owner.outage.begin()
    assert owner.outage.redialling
    assert owner.outage.since == 7
    owner.clock.advance(12)
    assert owner.outage.end() == 12
    assert (len(owner.dials), owner.cancels) == (1, 1)
    assert not owner.outage.redialling
    assert owner.outage.since is None


def test_the_next_link_may_be_on_its_way_before_the_present_one_is_lost() -> None:
    owner = Owner(dials=True)
    owner.outage.renew()
    owner.outage.renew()
    owner.outage.begin()
    assert len(owner.dials) == 1
    owner.clock.advance(2)
    assert owner.outage.end() == 2
    assert owner.cancels == 1


def test_a_next_link_that_is_refused_is_asked_for_again() -> None:
    owner = Owner(dials=True)
    owner.outage.renew()
    owner.outage.kept()
    owner.outage.renew()
    assert len(owner.dials) == 2


def test_the_destination_waits() -> None:
    owner = Owner(dials=False)
    owner.outage.begin()
    assert not owner.outage.redials
    assert not owner.outage.redialling
    owner.clock.advance(29)
    assert owner.outage.end() == 29
    owner.clock.advance(100)
    assert owner.heard == []


def test_it_does_not_wait_for_ever() -> None:
    owner = Owner(dials=True)
    owner.outage.begin()
    owner.outage.trouble = LinkLost("no route to host")
    owner.clock.advance(31)
    assert owner.heard == ["no new link within 31 s: no route to host"]
    owner.outage.end()
    assert owner.cancels == 1


def test_without_one_there_is_nothing_to_end() -> None:
    owner = Owner(dials=True)
    assert owner.outage.end() == 0
    assert repr(owner.outage) == "<Outage since=None trouble=None>"


def test_the_next_one_begins_anew() -> None:
    owner = Owner(dials=True)
    for _ in range(3):
        owner.outage.begin()
        owner.clock.advance(20)
        assert owner.outage.end() == 20
    assert owner.heard == []
    assert len(owner.dials) == 3


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
