"""The processes under way: which of them nobody waits for, and what they carry together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from attrs import evolve
from twisted.internet.task import Clock

from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Entry, Move
from nbdtun.migration.progress import LinkState, Phase, Progress
from nbdtun.service.evacuation.crew import FADING, LOST_SECONDS, SILENT_SECONDS, Crew
from nbdtun.service.evacuation.places import Places


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def crew(tmp_path: Path, clock: Clock) -> Crew:
    places = Places(Terms(qmp="/run/{vm}.qmp", to=("hv2",), words=("--insecure", "--run-dir", f"{tmp_path}")))
    crew = Crew(cast(Any, clock), places, tmp_path)
    for vm in ("a", "b"):
        crew.adopt(Entry(Move(vm, f"/run/{vm}.qmp", "hv2", ("hv2",)), to="hv2"))
    return crew


def tell(crew: Crew, vm: str, link: LinkState, *, time: float = 0.0) -> None:
    """As if the process of `vm` had answered."""
    hand = crew._hands[vm]
    hand.heard, hand.answered = True, crew._reactor.seconds()
    crew._heed(hand, Progress(time, 0.0, Phase.MIRROR, link=link))


def test_one_that_has_no_link_for_long_is_stuck(crew: Crew) -> None:
    assert crew.linked == frozenset()  # nobody has answered yet
    tell(crew, "a", LinkState(lost_for=LOST_SECONDS - 1))
    tell(crew, "b", LinkState())
    assert [*map(set, (crew.lost, crew.stuck, crew.linked))] == [{"a"}, set(), {"b"}]
    tell(crew, "a", LinkState(lost_for=LOST_SECONDS))
    tell(crew, "b", LinkState(silent_for=LOST_SECONDS))
    assert [*map(set, (crew.lost, crew.stuck, crew.linked))] == [{"a", "b"}, {"a", "b"}, set()]


def test_one_whose_process_answers_no_more_is_stuck(crew: Crew, clock: Clock) -> None:
    clock.advance(2 * SILENT_SECONDS)
    tell(crew, "a", LinkState())
    assert crew.stuck == frozenset()  # b has not begun
    clock.advance(SILENT_SECONDS)
    assert crew.stuck == {"a"}


def test_what_they_carry_together_fades(crew: Crew) -> None:
    for vm in ("a", "b"):
        tell(crew, vm, LinkState(), time=10.0)
        tell(crew, vm, LinkState(sent=20_000_000), time=12.0)
        crew._hands[vm].asking = True  # so that none is asked in earnest
    crew.ask({})
    assert crew.line == 20_000_000
    tell(crew, "a", LinkState(sent=20_000_000), time=13.0)
    tell(crew, "b", LinkState(sent=25_000_000), time=13.2)
    crew.ask({})
    assert crew.line == round(20_000_000 * FADING)


def test_a_report_that_is_not_new_is_no_measure(crew: Crew) -> None:
    tell(crew, "a", LinkState(), time=10.0)
    tell(crew, "a", LinkState(sent=20_000_000), time=12.0)
    hand = crew._hands["a"]
    tell(crew, "a", evolve(hand.progress.link), time=12.0)
    assert hand.rate == 10_000_000
