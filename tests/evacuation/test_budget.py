"""How the bandwidth is divided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nbdtun.evacuation.budget import LEAST, MEMORY, Parts, parts, shares, yielding
from nbdtun.migration.progress import Phase

MIB = 1 << 20
PHASES = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from([phase for phase in Phase if not phase.final]))


def test_disks_share_all_of_it() -> None:
    assert shares(80 * MIB, {"a": Phase.MIRROR, "b": Phase.PREPARE}) == {"a": 40 * MIB, "b": 40 * MIB}


def test_memory_goes_ahead_of_disks() -> None:
    assert shares(80 * MIB, {"a": Phase.MIRROR, "b": Phase.RAM, "c": Phase.MIRROR}) == {"a": 5 * MIB, "b": 70 * MIB, "c": 5 * MIB}
    assert shares(80 * MIB, {"b": Phase.RAM}) == {"b": 80 * MIB}


def test_no_limit() -> None:
    assert shares(0, {"a": Phase.MIRROR}) == {}


@given(st.integers(1, 1 << 40), PHASES)
def test_all_have_some_and_no_more_than_there_is(total: int, phases: dict[str, Phase]) -> None:
    parts = shares(total, phases)
    assert parts.keys() == phases.keys()
    assert all(part >= LEAST for part in parts.values())
    assert sum(parts.values()) <= total + LEAST * len(parts)
    for one in phases:
        for other in phases:
            if (phases[one] in MEMORY) == (phases[other] in MEMORY):
                assert parts[one] == parts[other]


@given(st.integers(64 * MIB, 1 << 40), PHASES)
def test_the_sum_keeps_to_the_limit(total: int, phases: dict[str, Phase]) -> None:
    assert sum(shares(total, phases).values()) <= total


def test_without_a_limit_disks_give_way_to_the_memory_that_others_wait_for() -> None:
    phases = {"a": Phase.RAM, "b": Phase.MIRROR, "c": Phase.MIRROR, "d": Phase.HOLDING, "e": Phase.PREPARE}
    assert yielding(60_000_000, phases, {"a"}) == {"b": 10_000_000, "c": 10_000_000}
    assert yielding(60_000_000, phases, set()) == {}  # it is sent ahead of its turn
    assert yielding(0, phases, {"a"}) == {}
    assert yielding(60_000_000, {**phases, "a": Phase.FINISH}, {"a"}) == {}
    assert yielding(1, phases, {"a"}) == {"b": LEAST, "c": LEAST}
    assert yielding(60_000_000, {"a": Phase.RAM}, {"a"}) == {}


def test_a_limit_is_shared_and_without_one_disks_yield() -> None:
    phases = {"a": Phase.MIRROR, "b": Phase.RAM}
    assert parts(80 * MIB, 9 * MIB, phases, {"b"}) == Parts(shares={"a": 10 * MIB, "b": 70 * MIB})
    assert parts(0, 9 * MIB, phases, {"b"}) == Parts(yields={"a": 3 * MIB})
