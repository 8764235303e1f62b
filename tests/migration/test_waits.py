"""Each wait of the table, on paper: it hangs, with the network up and gone, and each thing that may end it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from nbdtun.errors import LinkLost, MonitorError, NbdtunError, OutcomeUnknown
from nbdtun.migration.progress import LinkState, Phase, Progress
from nbdtun.migration.settings import HOLD, MigrationSettings, StepTimeouts
from nbdtun.migration.source.life import State
from nbdtun.migration.timeouts import Timeouts
from nbdtun.migration.waits import WAITS, Ender, Wait
from tests.migration.stage.stage import Stage

#: Seconds of the limits that are to end a wait, and until all of them hang.
LIMIT = 8.0

Hang = Callable[[Stage], object]


class Once(set[str]):
    """Commands that hang when they are asked for the first time: QEMU answers again by the time that it is to undo something."""

    def __contains__(self, command: object) -> bool:
        found = super().__contains__(command)
        if found:
            self.discard(str(command))
        return found


def _source(command: str) -> Hang:
    return lambda stage: setattr(stage.source, "hangs", Once({command}))


def _destination(command: str) -> Hang:
    return lambda stage: setattr(stage.destination, "hangs", Once({command}))


def _no_state(stage: Stage) -> None:
    stage.source._complete = lambda: None  # type: ignore[method-assign]


def _no_last_writes(stage: Stage) -> None:
    cancel = stage.source.block_job_cancel
    stage.source.block_job_cancel = lambda device, force: cancel(device, force) if force else None  # type: ignore[method-assign]


#: How to hang each wait of the way forward, in each of its phases.
HANGS: dict[tuple[str, Phase], Hang] = {
    ("control", Phase.PREPARE): lambda stage: setattr(stage, "silent", True),
    ("command", Phase.PREPARE): _source("query-block"),
    ("command", Phase.MIRROR): _source("blockdev-mirror"),
    ("command", Phase.READY): _source("migrate-set-parameters"),
    ("command", Phase.RAM): _source("migrate"),
    ("command", Phase.SWITCHOVER): _source("migrate-continue"),
    ("answer", Phase.PREPARE): _destination("nbd-server-start"),
    ("answer", Phase.READY): _destination("migrate-incoming"),
    ("connect", Phase.MIRROR): _source("blockdev-add"),
    ("sync", Phase.MIRROR): lambda stage: setattr(stage.source, "stuck", True),
    ("moment", Phase.HOLDING): lambda stage: None,
    ("memory", Phase.RAM): lambda stage: setattr(stage.source, "_pause", lambda: None),
    ("writes", Phase.SWITCHOVER): _no_last_writes,
    ("state", Phase.SWITCHOVER): _no_state,
    ("arrival", Phase.SWITCHOVER): lambda stage: setattr(stage, "never_arrives", True),
}

FORWARD = {wait.name: wait for wait in WAITS if Ender.OPERATOR in wait.enders}


def test_each_wait_of_the_way_forward_is_hung_here_in_each_of_its_phases() -> None:
    assert {(wait.name, phase) for wait in FORWARD.values() for phase in wait.phases} == set(HANGS)


def test_each_wait_has_an_end() -> None:
    """Its own limit; or its phase's, which has one by default or can only last as long as bytes move."""
    assert len({wait.name for wait in WAITS}) == len(WAITS)
    for wait in WAITS:
        if wait.bound is None:
            held = wait.phases == (Phase.HOLDING,)  # for as long as its operator wants
            assert {Ender.PHASE, Ender.OPERATOR} | (set() if held else {Ender.TOTAL, Ender.STALL}) <= wait.enders
        assert wait.limit
        assert wait.ended_by


def timeouts(ender: Ender | None, phase: Phase) -> Timeouts:
    if ender is Ender.PHASE:
        return Timeouts(phases={phase: LIMIT})
    if ender is Ender.TOTAL:
        return Timeouts(total=LIMIT)
    return Timeouts(stall=LIMIT if ender is Ender.STALL else None, phases=dict.fromkeys((phase,), 800.0))


class Hung:
    """A migration that waits for what does not come, in ``phase``; the network is gone, or not."""

    def __init__(self, wait: Wait, phase: Phase, ender: Ender | None, gone: bool, steps: StepTimeouts | None = None) -> None:
        self.stage = stage = Stage()
        HANGS[wait.name, phase](stage)
        held = {"switchover": HOLD} if phase is Phase.HOLDING else {}
        self.migration: Deferred[Progress] = stage.start(timeouts=timeouts(ender, phase), **held, **({"steps": steps} if steps else {}))
        self.ender = ender
        stage.turn(60, until=phase)
        stage.turn(0.5)
        self.pumps = stage.pumps
        if gone:
            stage.pumps = []  # nothing passes, and nothing ends
            if ender is not Ender.STALL:  # which is for a link that is up
                stage.link = LinkState(lost_for=1.0)
        if ender in (Ender.OPERATOR, Ender.MONITOR, Ender.CONTROL):
            stage.turn(3)
        self.struck = stage.clock.seconds()

    def strike(self) -> None:
        """What is to end it happens; a limit comes by itself."""
        if self.ender is Ender.OPERATOR:
            self.migration.cancel()
        elif self.ender is Ender.MONITOR:
            self.stage.source.lose("QEMU closed its monitor")
        elif self.ender is Ender.CONTROL:
            self.stage.pumps = self.pumps
            self.stage.cut()

    def begins_to_roll_back(self) -> float:
        """Seconds until it does."""
        while self.stage.migration._life.state is State.FORWARD:
            assert self.stage.clock.seconds() < self.struck + 700, "it waits for ever"
            self.stage.turn(0.1)
        return self.stage.clock.seconds() - self.struck

    def end(self) -> Progress | Exception:
        """How the migration ended; afterwards the destination learns that its control channel is lost for good."""
        outcome = self.stage.outcome(self.migration)
        self.stage.pumps = self.pumps
        self.stage.cut()
        self.stage.turn(40)
        return outcome


def cases() -> Iterator[object]:
    for (name, phase), _ in HANGS.items():
        for ender in sorted(FORWARD[name].enders, key=lambda ender: ender.name):
            if (name, phase, ender) == ("command", Phase.PREPARE, Ender.CONTROL):
                continue  # all that QEMU is asked then is asked before there is a control channel
            for gone in (False, True):
                yield pytest.param(name, phase, ender, gone, id=f"{name}-{phase.value}-{ender.name}-{'gone' if gone else 'up'}".lower())


@pytest.mark.parametrize(("name", "phase", "ender", "gone"), list(cases()))
def test_a_wait_is_ended(name: str, phase: Phase, ender: Ender, gone: bool) -> None:
    """The roll-back begins within a second, and ends within five; the guest runs on."""
    hung = Hung(FORWARD[name], phase, ender, gone)
    stage = hung.stage
    hung.strike()
    limited = ender in (Ender.PHASE, Ender.TOTAL, Ender.STALL)
    lost_and_prepared_again = ender is Ender.CONTROL and (phase is Phase.MIRROR or (name, phase) == ("command", Phase.READY))
    longest = LIMIT + 2.1 if limited else 600 if lost_and_prepared_again else 1
    assert hung.begins_to_roll_back() <= longest
    began = stage.clock.seconds()
    outcome = hung.end()
    assert isinstance(outcome, CancelledError if ender is Ender.OPERATOR else NbdtunError), outcome
    assert not isinstance(outcome, OutcomeUnknown)
    unheard = gone and stage.link.lost_for is None  # nobody knows that there is no network
    lasted = stage.reports[-1].elapsed - began
    assert lasted <= (26 if unheard else 5), "the roll-back lasts too long"
    assert stage.running() == ["web1"]


@pytest.mark.parametrize("gone", [False, True], ids=["up", "gone"])
@pytest.mark.parametrize("name", [name for name, wait in FORWARD.items() if wait.bound is not None])
def test_its_own_limit_ends_it(name: str, gone: bool) -> None:
    wait = FORWARD[name]
    assert wait.bound is not None
    hung = Hung(wait, wait.phases[0], None, gone)
    assert hung.begins_to_roll_back() <= wait.bound + 1.1
    hung.end()


@pytest.mark.parametrize("phase", [Phase.READY, Phase.RAM, Phase.SWITCHOVER])
def test_a_disk_that_is_lost_from_the_memory_on_is_yanked_before_qemu_hears_of_it(phase: Phase) -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=phase)
    nbd = next(ingress for ingress in stage.ingresses if ingress.farewell is not None)
    assert nbd.farewell is not None
    told = nbd.farewell()
    assert ("yank" in stage.source.asked) == (phase is not Phase.READY)  # until then its session can be prepared again, and QEMU dials
    stage.turn(1)
    assert told.called
    stage.outcome(migration)


def test_a_roll_back_yanks_before_it_closes_a_socket() -> None:
    stage = Stage()
    migration = stage.start()
    stage.turn(60, until=Phase.RAM)
    migration.cancel()
    open_then: list[int] = []
    yank = stage.source.yank

    def yanked(instances: Any) -> Any:
        open_then.append(len(stage.ingresses))
        return yank(instances)

    stage.source.yank = yanked  # type: ignore[method-assign]
    stage.outcome(migration)
    assert open_then[0] == 2


def test_a_finish_without_an_answer_is_asked_for_again_and_given_up() -> None:
    stage = Stage()
    _destination("cont")(stage)
    migration = stage.start()
    stage.turn(60, until=Phase.FINISH)
    stage.pumps.clear()
    migration.cancel()  # too late
    outcome = stage.outcome(migration)
    steps = MigrationSettings(vm="web1").steps
    assert isinstance(outcome, OutcomeUnknown)
    assert stage.clock.seconds() < steps.complete + steps.answer + steps.settle + 100


def test_errors_that_end_a_wait_name_it() -> None:
    for name, error in {"control": LinkLost, "command": MonitorError}.items():
        hung = Hung(FORWARD[name], Phase.PREPARE, None, gone=False)
        assert isinstance(hung.end(), error)


def test_a_step_that_answers_its_cancellation_with_another_error_is_cancelled_all_the_same() -> None:
    stage = Stage()
    stage.silent = True
    control = stage.control

    async def failing(protocol: Any) -> Any:
        try:
            return await control(protocol)
        except CancelledError:
            raise LinkLost("the channel has just ended") from None

    stage.control = failing  # type: ignore[method-assign]
    migration = stage.start()
    stage.turn(1)
    migration.cancel()
    assert isinstance(stage.outcome(migration), CancelledError)
    assert stage.reports[-1].phase is Phase.CANCELLED
