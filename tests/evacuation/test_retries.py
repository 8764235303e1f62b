"""Where and when a VM is tried again."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import NbdtunError, tree
from nbdtun.evacuation.life import State, Trigger
from nbdtun.evacuation.retries import LONGEST, Sense, Strikes, after_failure, is_the_destinations, pause, sense
from nbdtun.evacuation.values import Entry, Move

CODES = sorted({error.code for error in tree(NbdtunError)})
BEGUN = Entry(Move("web1", "/run/web1.qmp", "hv2", ("hv2", "hv3"))).after(Trigger.START, to="hv2", attempt=1)


def failed(code: str, *, failures: int = 0, closed: tuple[str, ...] = (), retries: int = 3) -> Entry:
    entry = evolve(BEGUN, code=code, reason="it broke", failures=failures)
    return after_failure(entry, 1_000_000, retries=retries, first=10_000, closed=closed)


@pytest.mark.parametrize(
    ("code", "to"),
    [("timeout", "hv2"), ("memory", "hv2"), ("link-lost", "hv3"), ("shutting-down", "hv3"), ("vm-unknown", "hv3"), ("tls", "hv3")],
)
def test_where(code: str, to: str) -> None:
    again = failed(code)
    assert (again.state, again.to, again.failures) == (State.WAITING, to, 1)
    assert again.not_before == 1_010_000


@pytest.mark.parametrize("code", ["monitor", "monitor-lost", "libvirt"])
def test_a_monitor_may_be_the_destinations_and_another_has_its_own(code: str) -> None:
    again = failed(code)
    assert (again.state, again.to) == (State.WAITING, "hv3")
    assert failed(code, closed=("hv3",)).to == "hv2"
    assert not is_the_destinations(code)


@pytest.mark.parametrize("code", ["config", "not-migratable", "cancelled"])
def test_no_second_try_for_its_own_fault(code: str) -> None:
    assert failed(code).state is State.STAYED
    assert not is_the_destinations(code)


def test_the_same_destination_where_there_is_no_other() -> None:
    assert failed("link-lost", closed=("hv3",)).to == "hv2"
    assert failed("vm-unknown", closed=("hv3",)).state is State.STAYED
    assert failed("timeout", closed=("hv2",)).to == "hv3"
    assert failed("timeout", closed=("hv2", "hv3")).state is State.STAYED


def test_it_ends() -> None:
    assert failed("timeout", failures=2).state is State.WAITING
    last = failed("timeout", failures=3)
    assert (last.state, last.code, last.reason, last.ended) == (State.STAYED, "timeout", "it broke", 1_000_000)
    assert failed("timeout", retries=0).state is State.STAYED


def test_a_full_destination_is_no_failure() -> None:
    again = failed("too-many-arrivals", failures=3)
    assert (again.state, again.to, again.failures, again.not_before) == (State.WAITING, "hv3", 3, 1_010_000)
    assert failed("too-many-arrivals", closed=("hv3",)).to == "hv2"
    assert not is_the_destinations("too-many-arrivals")


def test_pauses_grow() -> None:
    assert [pause(10_000, failures) for failures in (1, 2, 3)] == [10_000, 20_000, 40_000]
    assert pause(10_000, 1000) == LONGEST


def test_three_vms_in_a_row_close_a_destination() -> None:
    strikes = Strikes()
    for vm in ("web1", "web2", "web1"):
        strikes = strikes.failed("hv2", vm)
    assert strikes.closed == frozenset()
    assert strikes.failed("hv3", "web3").closed == frozenset()
    assert strikes.failed("hv2", "web3").closed == {"hv2"}
    assert strikes.arrived("hv2").failed("hv2", "web3").closed == frozenset()


@given(st.sampled_from(CODES), st.integers(0, 5), st.sets(st.sampled_from(["hv2", "hv3"])))
def test_every_code_has_an_answer(code: str, failures: int, closed: set[str]) -> None:
    after = failed(code, failures=failures, closed=tuple(closed))
    assert after.state in (State.WAITING, State.STAYED)
    if after.state is State.WAITING:
        assert after.to not in closed
        assert after.failures <= 3 or code == "too-many-arrivals"
        assert sense(code) is not Sense.NOWHERE
        assert sense(code) is not Sense.ONLY_ELSEWHERE or after.to == "hv3"
