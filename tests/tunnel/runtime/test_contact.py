"""One cut is one outage, however many links it takes; silence is counted from what was heard last; a new link ends a hanging up."""

from __future__ import annotations

from twisted.internet.task import Clock

from nbdtun.tunnel.runtime.contact import SAME, Contact


def contact() -> tuple[Clock, Contact]:
    clock = Clock()
    return clock, Contact(clock.seconds)


def test_nothing_has_happened_yet() -> None:
    _, one = contact()
    assert (one.outages, one.down, one.silent_for) == (0, 0.0, 0.0)


def test_silence_ends_with_what_is_heard() -> None:
    clock, one = contact()
    clock.advance(4)
    assert one.silent_for == 4
    one.heard()
    assert one.silent_for == 0


def test_who_has_hung_up_is_back_with_a_link() -> None:
    clock, one = contact()
    one.hung_up = True
    clock.advance(4)
    one.heard()  # on a link that is still to close
    assert one.hung_up
    one.linked()
    assert (one.hung_up, one.silent_for) == (False, 0)


def test_a_cut_of_three_links_is_one_outage() -> None:
    clock, one = contact()
    one.lost()
    clock.advance(1)
    one.lost()
    one.lost()
    clock.advance(6)
    assert (one.outages, one.down) == (1, 7)
    one.back()
    clock.advance(1)
    one.back()
    one.back()
    clock.advance(100)
    assert (one.outages, one.down) == (1, 8)


def test_a_link_that_is_lost_a_little_later_belongs_to_it() -> None:
    clock, one = contact()
    one.lost()
    clock.advance(2)
    one.back()
    clock.advance(SAME)
    one.lost()
    clock.advance(1)
    one.back()
    assert (one.outages, one.down) == (1, 3 + SAME)


def test_outages_add_up() -> None:
    clock, one = contact()
    for seconds in (2, 3):
        one.lost()
        clock.advance(seconds)
        one.back()
        clock.advance(SAME + 1)
    assert (one.outages, one.down) == (2, 5)
    assert repr(one) == "<Contact outages=2 missing=0>"


def test_who_heeds_it_hears_of_each_link() -> None:
    _, one = contact()
    heard: list[int] = []
    one.heeded.append(lambda: heard.append(one.losses))
    one.lost()
    one.back()
    one.heard()
    assert heard == [1, 1]
