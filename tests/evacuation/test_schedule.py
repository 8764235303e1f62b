"""Which step is due for which VM: examples, and whole evacuations with random ends."""

from __future__ import annotations

import random
from collections.abc import Iterable

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.evacuation.life import State, Trigger
from nbdtun.evacuation.retries import after_failure
from nbdtun.evacuation.rules import Rules
from nbdtun.evacuation.schedule import Now, Step, What, destination, due
from nbdtun.evacuation.values import Entry, Move

START, RELEASE, SETTLE, STAY, ROLL_BACK = What.START, What.RELEASE, What.SETTLE, What.STAY, What.ROLL_BACK
CODES = ["timeout", "link-lost", "vm-unknown", "not-migratable", "hook", "too-many-arrivals"]


def entry(vm: str, state: State = State.WAITING, size: int = 1, **more: object) -> Entry:
    return evolve(Entry(Move(vm, "", "hv2", ("hv2", "hv3"), memory=size)), state=state, **more)  # type: ignore[arg-type]


def steps(entries: Iterable[Entry], **now: object) -> list[tuple[str, What]]:
    told = {"time": 100, "copying": 2, **now}
    return [(step.vm, step.what) for step in due(entries, Now(**told))]  # type: ignore[arg-type]


def test_the_smallest_go_first_and_so_many_at_a_time() -> None:
    vms = [entry("a", size=3), entry("b", size=1), entry("c", size=2)]
    assert steps(vms) == [("b", START), ("c", START)]
    assert steps(vms, rules=Rules(order=("a",), priority={"c": 1})) == [("c", START), ("a", START)]
    assert steps([*vms, entry("d", State.COPYING)]) == [("b", START)]


def test_one_that_is_held_leaves_its_place_to_another() -> None:
    assert steps([entry("a", State.HELD), entry("b"), entry("c")], open=False) == [("b", START), ("c", START)]


def test_one_switches_over_at_a_time() -> None:
    held = [entry("a", State.HELD, size=2), entry("b", State.HELD)]
    assert steps(held) == [("b", RELEASE)]
    assert steps([*held, entry("c", State.SWITCHING)]) == []
    assert steps([*held, entry("c", State.SWITCHING)], watched={"c"}) == [("b", RELEASE)]
    assert steps(held, rules=Rules(order=("a",))) == [("a", RELEASE)]


def test_one_whose_hook_refuses_keeps_no_other_waiting() -> None:
    held = [entry("a", State.HELD), entry("b", State.HELD)]
    assert steps(held, refused={"a"}) == [("b", RELEASE)]


def test_what_was_ready_when_the_window_closed_is_finished() -> None:
    held = [entry("a", State.HELD), entry("b", State.HELD)]
    assert steps(held, open=False) == []
    assert steps(held, open=False, late={"b"}) == [("b", RELEASE)]


def test_the_end_of_the_window_can_roll_back_what_was_not_ready() -> None:
    vms = [entry("a", State.COPYING), entry("b", State.HELD), entry("c")]
    assert steps(vms, open=False, roll_back=True, living={"a", "b"}, late={"b"}) == [("a", ROLL_BACK), ("b", RELEASE)]
    assert steps(vms, open=False, roll_back=True, living={"a", "b"}) == [("a", ROLL_BACK), ("b", ROLL_BACK)]


def test_a_pause_is_waited_for() -> None:
    assert steps([entry("a", not_before=101)]) == []
    assert steps([entry("a", not_before=100)]) == [("a", START)]


def test_an_unsettled_one_is_asked_about_when_its_process_has_ended() -> None:
    assert steps([entry("a", State.UNSETTLED)], stopping=True) == [("a", SETTLE)]
    assert steps([entry("a", State.UNSETTLED)], living={"a"}) == []


def test_those_that_never_go() -> None:
    refused = evolve(entry("a"), move=Move("a", "", refused="it has a job"))
    assert steps([refused]) == [("a", STAY)]
    assert steps([entry("a"), entry("b", State.COPYING)], stopping=True) == [("a", STAY)]
    assert steps([entry("a")], closed={"hv2", "hv3"}) == [("a", STAY)]


def test_another_destination_where_the_first_takes_no_more() -> None:
    assert destination(entry("a"), Now(0, 2, closed={"hv2"})) == "hv3"
    assert destination(entry("a", to="hv3"), Now(0, 2)) == "hv3"


def test_a_full_destination_keeps_no_other_waiting() -> None:
    here = entry("a")
    other = evolve(entry("b", size=2), move=Move("b", "", "hv3", ("hv3",), memory=2))
    assert steps([here, other], full={"hv2"}) == [("b", START)]


def test_no_second_switchover_while_one_is_about_to_begin() -> None:
    """Its hook is called, or its process has not answered yet."""
    held = [entry("a", State.HELD), entry("b", State.HELD)]
    assert steps(held, busy={"a"}, living={"a", "b"}) == []
    assert steps(held, busy={"a"}, living={"b"}) == [("b", RELEASE)]  # its process has ended
    switching = [entry("a", State.SWITCHING), entry("b", State.HELD)]
    assert steps(switching, busy={"a"}, living={"a", "b"}) == []


def test_no_step_for_one_that_is_busy_and_it_keeps_its_place() -> None:
    vms = [entry("a"), entry("b"), entry("c"), entry("d", State.UNSETTLED)]
    assert steps(vms, busy={"a", "d"}) == [("b", START)]
    assert steps([entry("a")], busy={"a"}, stopping=True) == []


def test_one_whose_process_has_ended_keeps_no_place_while_its_hook_is_called() -> None:
    vms = [entry("a", State.COPYING), entry("b"), entry("c")]
    assert steps(vms, busy={"a"}, living={"a"}) == [("b", START)]
    assert steps(vms, busy={"a"}) == [("b", START), ("c", START)]


def test_one_without_a_link_keeps_nobody_waiting() -> None:
    vms = [entry("a", State.SWITCHING), entry("b", State.HELD), entry("c", State.HELD), entry("d", State.COPYING), entry("e"), entry("f")]
    assert steps(vms, lost={"a", "b", "d"}) == [("e", START)]
    assert steps(vms, lost={"a", "b", "d"}, stuck={"a", "d"}) == [("c", RELEASE), ("e", START), ("f", START)]


def test_a_destination_that_is_away_gets_no_vm_until_it_is_back() -> None:
    bound = evolve(entry("b"), move=Move("b", "", "hv2", ("hv2",)))
    assert due([entry("a"), bound], Now(0, 2, away={"hv2"})) == [Step("a", START, "hv3")]
    assert due([entry("a"), bound], Now(0, 2, away={"hv2", "hv3"})) == []
    assert due([entry("a"), bound], Now(0, 2)) == [Step("b", START, "hv2"), Step("a", START, "hv2")]


class World:
    """An evacuation whose processes end at random."""

    def __init__(self, chance: random.Random, count: int, copying: int) -> None:
        self.chance, self.copying = chance, copying
        self.entries = {f"vm{n}": entry(f"vm{n}", size=chance.randrange(1, 9)) for n in range(count)}
        self.living: set[str] = set()
        self.time = 0

    @property
    def now(self) -> Now:
        return Now(self.time, self.copying, open=self.chance.random() < 0.8, living=self.living)

    def take(self, step: Step) -> None:
        before = self.entries[step.vm]
        if step.what is START:
            assert step.vm not in self.living
            self.living.add(step.vm)
            after = before.after(Trigger.START, to=step.to, attempt=before.attempt + 1)
        elif step.what is SETTLE:
            assert step.vm not in self.living
            self.living.add(step.vm)
            after = before.after(Trigger.SETTLE)
        else:
            after = before.after({RELEASE: Trigger.RELEASE, STAY: Trigger.GIVE_UP}[step.what])
        self.entries[step.vm] = after

    def happen(self) -> None:
        """One process comes further, or ends in some way."""
        vm = self.chance.choice(sorted(self.living))
        before = self.entries[vm]
        if before.state is State.COPYING and self.chance.random() < 0.5:
            self.entries[vm] = before.after(Trigger.HOLD)
            return
        self.living.discard(vm)
        kind = self.chance.choice([Trigger.ARRIVE, Trigger.ARRIVE, Trigger.FAIL, Trigger.VANISH, Trigger.LOSE])
        if kind is Trigger.FAIL:
            failed = evolve(before, code=self.chance.choice(CODES))
            self.entries[vm] = after_failure(failed, self.time, retries=2, first=10)
        elif kind is Trigger.VANISH and before.state is State.SETTLING and before.failures > 2:
            self.entries[vm] = before.after(Trigger.DOUBT)
        else:
            self.entries[vm] = before.after(kind, failures=before.failures + (kind is Trigger.VANISH))


@given(st.integers(0, 2**32), st.integers(1, 9), st.integers(1, 3))
def test_it_comes_to_an_end_whatever_happens(seed: int, count: int, copying: int) -> None:
    world = World(random.Random(seed), count, copying)
    for _ in range(3000):
        for step in due(world.entries.values(), world.now):
            world.take(step)
        states = [each.state for each in world.entries.values()]
        assert states.count(State.COPYING) <= copying
        assert states.count(State.SWITCHING) <= 1
        if all(state.over for state in states):
            return
        if world.living:
            world.happen()
        world.time += 5
    raise AssertionError(f"it goes on for ever: {states}")
