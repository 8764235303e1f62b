"""The brake: no byte beyond the allowance, a throttle behind it, and nobody waits when it is off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from nbdtun.tunnel.runtime.brake import Brake
from nbdtun.tunnel.runtime.throttle import Limit, Throttle


class Reader:
    """Reads all that it may, at most so many bytes at a time."""

    urgent = True

    def __init__(self, limit: Limit, most: int = 1000) -> None:
        self.limit, self.most = limit, most
        self.got = 0
        self.asked = 0

    def allowed(self) -> None:
        self.asked += 1
        while self.limit.limited and (granted := self.limit.grant(self)):
            count = min(granted, self.most)
            self.limit.spent(count)
            self.got += count


def test_it_is_off_at_first() -> None:
    brake = Brake(Throttle(Clock()))
    assert not brake.limited
    assert (brake.left, repr(brake)) == (None, "<Brake off, 0 waiting>")


def test_while_it_is_on_it_counts_in_one_process() -> None:
    brake = Brake(Throttle(Clock()))
    told = [brake.alone]
    for allowance in (0, 7, None):
        brake.allow(allowance)
        told.append(brake.alone)
    assert told == [False, True, True, False]


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=8), st.integers(1, 3))
def test_all_together_read_what_is_allowed_and_no_byte_more(allowances: list[int], readers: int) -> None:
    brake = Brake(Throttle(Clock()))
    brake.allow(0)
    those = [Reader(brake) for _ in range(readers)]
    for reader in those:
        reader.allowed()
    for count in allowances:
        brake.allow(count)
    assert sum(reader.got for reader in those) == sum(allowances)
    assert brake.left == 0


def test_what_is_left_of_an_allowance_is_not_added_to_the_next() -> None:
    brake = Brake(Throttle(Clock()))
    brake.allow(10_000)
    brake.allow(5)
    reader = Reader(brake)
    reader.allowed()
    assert reader.got == 5


def test_when_it_is_taken_off_everybody_is_told() -> None:
    brake = Brake(Throttle(Clock()))
    brake.allow(0)
    here, gone = Reader(brake), Reader(brake)
    for reader in (here, gone):
        reader.allowed()
    brake.forget(gone)
    brake.allow(None)
    assert (here.asked, gone.asked) == (2, 1)
    assert not brake.limited


def test_behind_it_is_the_throttle() -> None:
    clock = Clock()
    throttle = Throttle(clock, 1000.0)
    brake = Brake(throttle)
    reader = Reader(brake)
    clock.advance(10)
    brake.allow(10_000)
    reader.allowed()
    assert 99 <= reader.got <= 100  # what the throttle's bucket holds
    brake.allow(None)
    for _ in range(20):
        clock.advance(0.1)
    assert 1900 <= reader.got <= 2210
