"""The processes under way: which of them nobody waits for, and what they carry together."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from attrs import evolve
from twisted.internet.task import Clock

from nbdtun.evacuation.budget import Parts
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Entry, Move
from nbdtun.migration.progress import LinkState, Phase, Progress
from nbdtun.service.control.commands import YIELD_SECONDS, Set, Status
from nbdtun.service.evacuation.crew import FADING, LOST_SECONDS, PACE, SILENT_SECONDS, Crew
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
    crew.ask(Parts())
    assert crew.line == 20_000_000
    tell(crew, "a", LinkState(sent=20_000_000), time=13.0)
    tell(crew, "b", LinkState(sent=25_000_000), time=13.2)
    crew.ask(Parts())
    assert crew.line == round(20_000_000 * FADING)


def test_a_report_that_is_not_new_is_no_measure(crew: Crew) -> None:
    tell(crew, "a", LinkState(), time=10.0)
    tell(crew, "a", LinkState(sent=20_000_000), time=12.0)
    hand = crew._hands["a"]
    tell(crew, "a", evolve(hand.progress.link), time=12.0)
    assert hand.rate == 10_000_000


class Wire:
    """The control sockets: what was told over them, and what the process of `a` reports."""

    def __init__(self, crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
        self.crew = crew
        self.told: list[tuple[str, dict[str, int]]] = []
        self.report: dict[str, Any] = {"progress": Progress(0.0, 0.0, Phase.MIRROR).as_json(), "bandwidth": None}
        monkeypatch.setattr(crew, "_say", self.say)
        del crew._hands["b"]

    async def say(self, vm: str, hand: object, command: Any, **arguments: int) -> dict[str, Any]:
        if command is Set:
            self.report["bandwidth"] = arguments["bandwidth"] or None
        if command is not Status:
            self.told.append((command.__name__, arguments))
        return self.report

    def ask(self, **parts: dict[str, int]) -> list[tuple[str, int]]:
        """Ask, and return what was told."""
        cast(Clock, self.crew._reactor).advance(PACE)
        self.crew.ask(Parts(**parts))
        told, self.told = self.told, []
        return [(name, arguments["bandwidth"]) for name, arguments in told]


@pytest.fixture
def wire(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> Wire:
    return Wire(crew, monkeypatch)


def test_it_yields_and_is_told_so_again_and_again(wire: Wire) -> None:
    assert wire.ask() == []
    assert wire.ask(yields={"a": 1000}) == [("Yield", 1000)]
    told = [wire.ask(yields={"a": 1010}) for _ in range(2 * round(YIELD_SECONDS / PACE))]
    assert 4 <= len([each for each in told if each]) <= 6
    assert wire.ask() == [("Yield", 0)]
    assert wire.ask() == []


def test_an_operators_own_limit_is_kept_where_nothing_is_shared(wire: Wire) -> None:
    wire.report["bandwidth"] = 500
    assert wire.ask() == []
    assert wire.ask(yields={"a": 1000}) == [("Yield", 1000)]
    assert wire.ask() == [("Yield", 0)]
    assert wire.report["bandwidth"] == 500


def test_a_share_is_no_more_than_an_operator_wants(wire: Wire) -> None:
    assert wire.ask(shares={"a": 1000}) == [("Set", 1000)]
    wire.report["bandwidth"] = 500  # he says so
    assert wire.ask(shares={"a": 1000}) == []
    assert wire.ask(shares={"a": 200}) == [("Set", 200)]
    assert wire.ask(shares={"a": 2000}) == [("Set", 500)]
    wire.report["bandwidth"] = None  # he wants none any more
    assert wire.ask(shares={"a": 2000}) == [("Set", 2000)]
    assert wire.ask() == [("Set", 0)]


def test_the_share_of_an_engine_before_is_no_wish(wire: Wire) -> None:
    wire.report["bandwidth"] = 500
    assert wire.ask(shares={"a": 1000}) == [("Set", 1000)]


def test_one_that_has_nothing_to_change_is_told_nothing(wire: Wire) -> None:
    del wire.report["bandwidth"]
    assert wire.ask(shares={"a": 1000}) == []
