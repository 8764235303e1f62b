"""Which sessions a destination knows; whole lives of sessions are in test_sessions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from nbdtun.errors import DestinationFailed
from nbdtun.migration.bond import Bond, Claim, proof_of
from nbdtun.migration.destination import register as module
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.register import Entry, Register
from nbdtun.migration.progress import Phase


class FakeSession:
    """A session that is over when a test says so."""

    def __init__(self, ident: str) -> None:
        self.ident = ident
        self.state = State.PREPARED
        self.reason = ""
        self.reached = State.PREPARED
        self.fate = SimpleNamespace(lost="")
        self.over: Deferred[None] = Deferred()
        self.cleaned_up = succeed(None)

    def end(self, state: State, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self.over.callback(None)


class FakeControl:
    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def when_lost(self) -> Deferred[None]:
        self._waiting.append(Deferred())
        return self._waiting[-1]

    def lose(self) -> None:
        for each in self._waiting:
            if not each.called:
                each.callback(None)


def entry(ident: str, vm: str = "web1") -> Any:
    session: Any = FakeSession(ident)
    control: Any = FakeControl()
    return Entry(vm, session, control)


def test_a_session_is_under_way_until_it_is_over(said: list[str]) -> None:
    register, one = Register(Clock()), entry("a" * 32)
    register.add(one)
    assert register.busy == {"web1": one}
    one.session.end(State.ABORTED, "the source aborted it")
    assert register.busy == {}
    assert said == ["web1: session aaaaaaaa aborted: the source aborted it"]
    assert register.session("a" * 32, Claim()) is register.find("a" * 32, Claim()) is register.latest["web1"] is one.session


def test_what_nobody_knows() -> None:
    register = Register(Clock())
    assert register.find("a" * 32, Claim()) is None
    assert "a" * 32 not in register
    with pytest.raises(DestinationFailed, match="does not know this session"):
        register.session("a" * 32, Claim())
    assert repr(register) == "<Register of 0 sessions under way, 0 in all>"


def test_those_that_are_over_are_forgotten_those_under_way_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    register = Register(Clock())
    long = entry("f" * 32, "web2")
    register.add(long)
    for number in range(5):
        one = entry(f"{number:032x}")
        register.add(one)
        one.session.end(State.FINISHED)
    assert "f" * 32 in register
    assert register.latest.keys() == {"web1", "web2"}
    register.add(entry("e" * 32, "web3"))
    register.add(entry("d" * 32, "web4"))
    assert register.latest.keys() == {"web2", "web3", "web4"}
    assert len(register) <= 3


def test_many_sessions_of_one_vm_displace_no_outcome_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    register = Register(Clock())
    for number, vm in enumerate(["web2", *["web1"] * 9]):
        one = entry(f"{number:032x}", vm)
        register.add(one)
        one.session.end(State.FINISHED)
    assert f"{0:032x}" in register
    assert register.latest.keys() == {"web1", "web2"}
    assert len(register) == 3


def test_an_end_is_settled_when_the_source_hangs_up_or_after_a_while() -> None:
    clock = Clock()
    register, one, other, third = Register(clock), entry("a" * 32), entry("b" * 32, "web2"), entry("c" * 32, "web3")
    for each in (one, other, third):
        register.add(each)
    for each in (one, other):  # the third is under way, and its source stays
        each.session.end(State.FINISHED)
    settled = Deferred.fromCoroutine(register.settled())
    one.control.lose()
    assert not settled.called
    clock.advance(module.FAREWELL_SECONDS)
    assert settled.called


def test_nothing_is_waited_for_where_all_have_hung_up() -> None:
    register, one = Register(Clock()), entry("a" * 32)
    register.add(one)
    one.session.end(State.FINISHED)
    one.control.lose()
    assert Deferred.fromCoroutine(register.settled()).called


def test_a_session_is_found_by_its_own_source_only() -> None:
    """With its name and its secret; to all others it does not exist."""
    scene = Clock()
    register = Register(scene)
    one = entry("a" * 32)
    register.add(evolve(one, bond=Bond("dns:src1", proof_of(b"s" * 32))))
    proper = Claim(frozenset({"dns:src1", "dns:other"}), b"s" * 32)
    assert register.session("a" * 32, proper) is register.find("a" * 32, proper) is one.session
    assert register.last("web1", Claim(proper.names)) is one.session
    assert register.last("web1", Claim(frozenset({"dns:src2"}))) is None
    for claim in (Claim(), Claim(proper.names), Claim(proper.names, b"t" * 32), Claim(frozenset({"dns:src2"}), proper.secret)):
        assert register.find("a" * 32, claim) is None
        with pytest.raises(DestinationFailed, match="does not know this session"):
            register.session("a" * 32, claim)


def test_how_sessions_ended_is_counted(said: list[str]) -> None:
    clock = Clock()
    register = Register(clock)

    def ended(ident: str, state: State, reached: State, *, reason: str = "", lost: str = "") -> None:
        session: Any = FakeSession(ident * 32)
        control: Any = FakeControl()
        register.add(Entry("web1", session, control, began=clock.seconds()))
        clock.advance(10)
        session.reached, session.fate.lost = reached, lost
        session.end(state, reason)

    ended("a", State.FINISHED, State.FINISHING)
    ended("b", State.ABORTED, State.LISTENING, reason="QEMU has ended")
    ended("c", State.UNCERTAIN, State.FINISHING)
    ended("d", State.FINISHED, State.FINISHING, lost="a panic")
    ended("e", State.ABORTED, State.PREPARED, reason=module.LEFT)  # to the next daemon, which goes on with it
    tally = register.tally
    counted = {("completed", "finish"): 1, ("failed", "ram"): 1, ("unknown", "finish"): 1, ("lost", "finish"): 1}
    assert tally.ended == counted
    assert tally.durations.sum == 40.0


def test_a_downtime_counts_once_and_for_its_own_source() -> None:
    register = Register(Clock())
    session: Any = FakeSession("a" * 32)
    control: Any = FakeControl()
    register.add(Entry("web1", session, control, Bond("cn:client", proof_of(b"s" * 32))))
    register.paused("a" * 32, Claim(frozenset({"cn:client"}), b"s" * 32), 0.1)
    assert register.tally.downtimes.sum == 0.0  # its guest has not come yet
    session.end(State.FINISHED)
    register.paused("a" * 32, Claim(frozenset({"cn:other"}), b"s" * 32), 0.1)
    for _ in range(2):
        register.paused("a" * 32, Claim(frozenset({"cn:client"}), b"s" * 32), 0.1)
    assert register.tally.downtimes.sum == 0.1


def test_every_state_has_a_phase_or_an_outcome() -> None:
    assert module.PHASES.keys() | module.OUTCOMES.keys() == set(State)
    assert {*module.PHASES.values(), *module.OUTCOMES.values()} <= {phase.value for phase in Phase}
