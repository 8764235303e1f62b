"""What one end shares: its defaults, and timers that wait together."""

from __future__ import annotations

import pytest

from nbdtun.tunnel.runtime.runtime import BATCHED_FROM, Runtime
from nbdtun.tunnel.settings import Terms
from tests.tunnel.stage.crank import Crank


@pytest.fixture
def clock() -> Crank:
    return Crank()


def runtime(clock: Crank) -> Runtime:
    return Runtime(clock, Terms())


def test_each_end_has_its_own_of_everything(clock: Crank) -> None:
    one, other = runtime(clock), runtime(clock)
    for shared in ("pool", "pipes", "records", "throttle", "inflight", "line_limit"):
        assert getattr(one, shared) is not getattr(other, shared)
    assert one.throttle.rate is None
    assert one.pool is not one.records


def test_a_short_delay_is_kept_exactly(clock: Crank) -> None:
    called: list[str] = []
    clock.advance(0.7)
    runtime(clock).call_later(0.25, called.append, "now")
    clock.advance(0.24)
    assert called == []
    clock.advance(0.02)
    assert called == ["now"]


@pytest.mark.parametrize("began", [0.0, 0.3, 0.999])
def test_a_long_one_may_take_a_second_more_but_is_never_cut_short(clock: Crank, began: float) -> None:
    called: list[float] = []
    clock.advance(began)
    runtime(clock).call_later(5.0, lambda: called.append(clock.seconds()))
    for _ in range(80):
        clock.advance(0.1)
    (at,) = called
    assert began + 5.0 <= at <= began + 5.0 + BATCHED_FROM + 0.1


def test_many_wait_for_one_timer(clock: Crank) -> None:
    one = runtime(clock)
    called: list[int] = []
    for number in range(1000):
        one.call_later(5.0, called.append, number)
    assert len(clock.getDelayedCalls()) == 1
    clock.pump([0.05] * 160)
    assert sorted(called) == list(range(1000))
