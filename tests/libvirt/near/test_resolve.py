"""`--resolve` on paper: what the source makes of the two libvirts' answers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nbdtun.errors import GuestLost, LibvirtError, MigrationError, NotMigratable, OutcomeUnknown
from nbdtun.evacuation import outcome
from nbdtun.evacuation.values import Entry, Move
from nbdtun.libvirt.near import resolve as module
from nbdtun.libvirt.near.departure import Plan
from nbdtun.libvirt.near.pending import MOVED, STAYED, Pending, pending
from nbdtun.libvirt.near.resolve import Settlement
from nbdtun.libvirt.values import Fate
from nbdtun.migration.progress import LinkState, Phase, Progress
from nbdtun.migration.rollback.presence import identity
from nbdtun.migration.settings import MigrationSettings, StepTimeouts
from tests.libvirt.near.here import OFF, UUID, Here

SESSION = "0123456789abcdef" * 2
LEFT = Pending(UUID, "web1", SESSION, "5ec7e7")
PAUSED, BY_USER, RUNNING = (3, 2), (3, 1), (1, 1)
ARRIVED = Fate("running", "migrated", has_run=True)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The far end's session, which knows `fate`, and what it was asked as."""
    told: dict[str, Any] = {"fate": None}

    class There:
        def __init__(self, reactor: Any, way: Any, session: str, secret: bytes, steps: Any) -> None:
            told.update(session=session, secret=secret)

        async def outcome(self, uuid: str, *, end: bool, decided: bool) -> Fate:
            assert (uuid, end) == (UUID, True)
            if told["fate"] is None:
                raise OutcomeUnknown("nobody answers")
            fate: Fate = told["fate"]
            if fate.doubtful and not decided:
                raise OutcomeUnknown("nobody knows")
            return fate

        def close(self) -> None:
            pass

    monkeypatch.setattr(module, "FarSession", There)
    return told


@define
class Case:
    """One resolution, by what the far end knows."""

    state: Path
    asked: dict[str, Any]
    clock: Clock = field(factory=Clock)

    def begin(self, here: Here, fate: Fate | None, **settings: Any) -> list[Any]:
        self.asked["fate"] = fate
        got: list[Any] = []
        libvirt: Any = here
        carrier: Any = type("Carrier", (), {"link": LinkState()})
        plan = Plan(MigrationSettings(vm="web1", steps=StepTimeouts(settle=5.0), **settings), self.state)
        Deferred.fromCoroutine(Settlement(self.clock, libvirt, carrier, plan, lambda progress: None).run()).addBoth(got.append)
        return got

    def resolve(self, here: Here, fate: Fate | None, **settings: Any) -> Phase:
        return ended(self.begin(here, fate, **settings))

    @property
    def kept(self) -> Any:
        return pending(self.state, UUID)


def ended(got: list[Any]) -> Phase:
    if isinstance(got[0], Failure):
        got[0].raiseException()
    phase: Phase = got[0].phase
    return phase


@pytest.fixture
def case(tmp_path: Path, asked: dict[str, Any]) -> Case:
    return Case(tmp_path, asked)


def test_it_has_arrived_and_the_one_here_is_ended(case: Case) -> None:
    for here, done in ((Here(PAUSED), ["destroy"]), (Here(PAUSED, persistent=True), ["destroy", ("undefine", 8)])):
        assert case.resolve(here, ARRIVED) is Phase.COMPLETED
        assert here.done == done
        assert (case.asked["session"], case.asked["secret"]) == ("", b"")


def test_nobody_needs_to_know_the_session(case: Case) -> None:
    case.kept.write(LEFT)
    here = Here(BY_USER)
    assert case.resolve(here, ARRIVED) is Phase.COMPLETED
    assert (case.asked["session"], case.asked["secret"]) == (SESSION, bytes.fromhex("5ec7e7"))
    assert here.done == ["destroy"]
    assert case.kept.read() is None


def test_or_its_definition_is_kept(case: Case) -> None:
    here = Here(PAUSED, persistent=True)
    assert case.resolve(here, ARRIVED, keep_source=True) is Phase.COMPLETED
    assert here.done == ["destroy", ("autostart", 0)], "it is not to run here when this host is started again"


@pytest.mark.parametrize(
    ("left", "here", "done", "now"),
    [
        (None, Here(PAUSED), ["resume"], "runs at the source again"),
        (LEFT, Here(BY_USER), ["resume"], "runs at the source again"),
        (LEFT, Here(RUNNING), [], "runs at the source again"),
        (evolve(LEFT, runs=False), Here(PAUSED), [], "is paused at the source, as it was"),
        (LEFT, Here(OFF), [], "is off at the source"),
        (LEFT, Here(None), [], "is not at the source any more"),
    ],
)
def test_it_has_not_arrived_and_is_here_as_before(case: Case, left: Pending | None, here: Here, done: list[str], now: str) -> None:
    if left is not None:
        case.kept.write(left)
    with pytest.raises(MigrationError, match=f"did not arrive and never will; it {now}"):
        case.resolve(here, Fate(begun=True))
    assert here.done == done
    assert case.kept.read() is None


def test_one_that_is_off_here_or_gone_has_arrived(case: Case) -> None:
    """Its host was started again, or nbdtun was killed when libvirt had just ended it."""
    for here, done in ((Here(OFF, persistent=True), [("undefine", 8)]), (Here(OFF), []), (Here(None), [])):
        case.kept.write(LEFT)
        assert case.resolve(here, ARRIVED) is Phase.COMPLETED
        assert (here.done, case.kept.read(), case.asked["session"]) == (done, None, SESSION)


@pytest.mark.parametrize("gone", [Fate(has_run=True), Fate("shutoff", "shutdown", has_run=True)])
def test_one_that_has_come_back_is_not_paused(case: Case, gone: Fate) -> None:
    """It was moved back here, and nobody had asked for the outcome of its first journey."""
    case.kept.write(LEFT)
    here = Here(RUNNING)
    with pytest.raises(MigrationError, match="web1 has run at the destination, and is gone there; it runs here"):
        case.resolve(here, gone)
    assert (here.done, case.kept.read()) == ([], None)


def test_the_last_of_a_guest_is_not_ended(case: Case) -> None:
    gone = Fate("shutoff", "crashed", has_run=True)
    case.kept.write(LEFT)
    here = Here(PAUSED, persistent=True)
    with pytest.raises(GuestLost, match="or may have, and is shutoff there; it stays paused here; `virsh resume web1`"):
        case.resolve(here, gone)
    assert (here.done, case.kept.read()) == ([], LEFT)
    here.now = OFF
    with pytest.raises(GuestLost, match="shutoff there; it does not run here either"):
        case.resolve(here, gone)
    assert (here.done, case.kept.read()) == ([], None)


def test_what_another_process_has_said_is_not_believed_against_libvirt(case: Case) -> None:
    """A record of an earlier journey: the domain is back, or was handed over by another program since."""
    for how, here, done in ((MOVED, Here(PAUSED), "resume"), (STAYED, Here(PAUSED), "resume"), (STAYED, Here(OFF), "")):
        case.kept.write(evolve(LEFT, ended=how))
        got = case.begin(here, Fate())
        assert got == []  # libvirt may still be about to do what it was told
        case.clock.pump([0.5] * 12)
        with pytest.raises(MigrationError, match="it runs at the source again" if done else "it is off at the source"):
            ended(got)
        assert here.done == ([done] if done else [])
        assert case.kept.read() is None


def test_two_that_ran_are_one_by_a_second_command(case: Case) -> None:
    """Both processes at the source were killed, so that libvirt has let it run on."""
    case.kept.write(LEFT)
    here = Here(RUNNING)
    with pytest.raises(OutcomeUnknown, match="web1 has run at the destination, and ran here too; it is paused here"):
        case.resolve(here, ARRIVED)
    assert here.done == ["suspend"]
    here.now = BY_USER
    assert case.resolve(here, ARRIVED) is Phase.COMPLETED
    assert here.done == ["suspend", "destroy"]


def test_one_that_is_gone_there_and_runs_here_is_decided(case: Case) -> None:
    """By libvirt, as both processes at the source were killed; or by an operator, as nobody can tell whether it has run there."""
    gone = Fate(has_run=True, doubtful=True)
    case.kept.write(LEFT)
    with pytest.raises(OutcomeUnknown, match="nobody knows"):
        case.resolve(Here(PAUSED), gone)
    assert case.kept.read() == LEFT
    here = Here(RUNNING)
    with pytest.raises(MigrationError, match="it runs at the source again"):
        case.resolve(here, gone)
    assert (here.done, case.kept.read()) == ([], None)


def test_nobody_can_be_asked(case: Case) -> None:
    case.kept.write(LEFT)
    here = Here(PAUSED)
    with pytest.raises(OutcomeUnknown):
        case.resolve(here, None)
    assert here.done == []
    assert case.kept.read() == LEFT


def test_libvirt_is_not_disturbed_that_has_a_job_of_it(case: Case) -> None:
    here = Here(PAUSED, job=2)
    with pytest.raises(NotMigratable, match="libvirt still has a migration of web1 under way; wait for its end"):
        case.resolve(here, ARRIVED)
    assert here.done == []


def test_another_process_ends_it(case: Case) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        case.kept.write(evolve(LEFT, holder=identity(other.pid)))
        for how, result in ((MOVED, None), (STAYED, MigrationError)):
            here = Here(PAUSED)
            got = case.begin(here, None)
            case.clock.advance(1)
            assert got == []
            case.kept.write(evolve(LEFT, holder=identity(other.pid), ended=how))
            case.clock.advance(1)
            assert got == []
            here.now = RUNNING if how == STAYED else None
            case.clock.advance(1)
            if result is None:
                assert ended(got) is Phase.COMPLETED
            else:
                with pytest.raises(result, match="it runs at the source again"):
                    ended(got)
            assert case.kept.read() is None
            case.kept.write(evolve(LEFT, holder=identity(other.pid)))
        got = case.begin(Here(PAUSED), None)
        case.clock.pump([1.0] * 6)
        with pytest.raises(OutcomeUnknown, match=rf"process {other.pid} keeps asking; kill {other.pid} lets it run on here"):
            ended(got)
        got = case.begin(Here(PAUSED), None)
        other.kill()
        other.wait()
        case.clock.advance(1)
        with pytest.raises(OutcomeUnknown, match="has ended without an outcome; try again"):
            ended(got)


def test_another_process_has_ended_between_two_looks_at_it(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        case.kept.write(evolve(LEFT, holder=identity(other.pid)))
        got = case.begin(Here(OFF), None)
        said = evolve(LEFT, holder=identity(other.pid), ended=MOVED)
        held: Any = vars(Pending)["is_held"]

        def ends(left: Pending) -> bool:
            """It says so, and ends, just after the last look at what it has said."""
            case.kept.write(said)
            other.kill()
            other.wait()
            return bool(held.fget(left))

        monkeypatch.setattr(Pending, "is_held", property(ends))
        case.clock.advance(1)
        assert ended(got) is Phase.COMPLETED


def test_another_process_has_ended_it(case: Case) -> None:
    """And the domain here is gone with its UUID, or was kept."""
    case.kept.write(evolve(LEFT, ended=MOVED))
    here = Here(OFF, persistent=True)
    assert case.resolve(here, None) is Phase.COMPLETED
    assert here.done == [("autostart", 0)]
    case.kept.write(evolve(LEFT, holder=identity(os.getpid()), ended=MOVED))
    assert case.resolve(Here(None), None) is Phase.COMPLETED
    with pytest.raises(LibvirtError, match="web1 is not at the source; there is nothing to resolve") as gone:
        case.resolve(Here(None), None)
    last = Progress(0.0, 0.0, Phase.FAILED, code=gone.value.code)
    assert outcome.of_settlement(Entry(Move("web1", "")), last, "").fate is outcome.Fate.GONE  # its destination is asked next


@pytest.mark.parametrize(("now", "fate"), [(RUNNING, outcome.Fate.HERE), (OFF, outcome.Fate.GONE)])
def test_one_that_runs_has_no_unknown_outcome(case: Case, now: tuple[int, int], fate: outcome.Fate) -> None:
    """One that is off may have been ended after its arrival, and kept: an evacuation asks its destination."""
    with pytest.raises(MigrationError, match="at the source; there is nothing to resolve") as told:
        case.resolve(Here(now), Fate())
    last = Progress(0.0, 0.0, Phase.FAILED, code=told.value.code)
    assert outcome.of_settlement(Entry(Move("web1", "")), last, "").fate is fate


def test_nor_has_one_that_its_operator_has_paused(case: Case) -> None:
    here = Here(BY_USER)
    with pytest.raises(MigrationError, match="paused at the source by its operator"):
        case.resolve(here, Fate())
    assert here.done == []


def test_a_record_that_cannot_be_read_is_no_word_that_there_is_none(case: Case) -> None:
    """It may be of a later release. Nothing is asked, and nothing is done."""
    for here in (Here(PAUSED), Here(None)):
        (case.state / f"{UUID}.handover").write_text("{}")
        with pytest.raises(OutcomeUnknown, match="cannot be read: pending does not have the fields"):
            case.resolve(here, Fate())
        assert here.done == []
        assert case.kept.is_there
