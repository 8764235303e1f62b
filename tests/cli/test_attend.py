"""A migration with somebody in front of it: what its end means, and what Ctrl-C does to it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from nbdtun.cli.attend import Status, attend
from nbdtun.errors import ConfigError, GuestLost, MirrorFailed, NbdtunError, OutcomeUnknown
from nbdtun.migration.progress import Phase, Progress
from tests.cli.stage import FakeReactor, Gone, interrupts

MIRROR = Progress(time=1e9, elapsed=1.0, phase=Phase.MIRROR, rate=5.0, eta=3.0)
Report = Callable[[Progress], None]


class Recorder:
    def __init__(self) -> None:
        self.shown: list[Progress] = []
        self.closed = False

    def show(self, progress: Progress) -> None:
        assert not self.closed
        self.shown.append(progress)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def display() -> Recorder:
    return Recorder()


def attend_to(reactor: Any, start: Callable[[Report], Deferred[Progress]], display: Any, terminal: Any = None) -> Status:
    """Attend it on a terminal that stays, unless another is given."""
    return attend(reactor, start, display, Staying() if terminal is None else terminal, lambda log: display)  # type: ignore[arg-type]


class Staying:
    """A terminal that stays."""

    def leave(self, release: Callable[[], object]) -> bool:
        return False


class Leaving:
    """A terminal that goes away when a test says so, once."""

    def __init__(self) -> None:
        self.gone = False

    def leave(self, release: Callable[[], object]) -> bool:
        gone, self.gone = self.gone, False
        if gone:
            release()
        return gone


def ended(display: Recorder, start: Callable[[Report], Deferred[Progress]]) -> Status:
    status = attend_to(FakeReactor(), start, display)
    assert display.closed
    assert display.shown[-1].phase.final
    assert sum(progress.phase.final for progress in display.shown) == 1
    return status


def reporting(*progresses: Progress, then: Deferred[Progress]) -> Callable[[Report], Deferred[Progress]]:
    def start(report: Report) -> Deferred[Progress]:
        for progress in progresses:
            report(progress)
        return then

    return start


def test_completed(display: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    final = evolve(MIRROR, phase=Phase.COMPLETED, downtime_ms=80.0)
    assert ended(display, reporting(MIRROR, final, then=succeed(final))) == 0
    assert display.shown == [MIRROR, final]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "status", "phase"),
    [
        (MirrorFailed("vda: no space left"), 1, Phase.FAILED),
        (OutcomeUnknown("ask the destination"), 3, Phase.UNKNOWN),
        (GuestLost("it has crashed there"), 4, Phase.LOST),
        (ConfigError("/pki/client-key.pem: Permission denied"), 2, Phase.FAILED),
    ],
)
@pytest.mark.parametrize("before", [(), (MIRROR,)])
def test_an_error_is_shown_said_and_has_its_status(
    error: NbdtunError, status: int, phase: Phase, before: tuple[Progress, ...], display: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(display, reporting(*before, then=fail(error))) == status
    last = display.shown[-1]
    assert (last.phase, last.error, last.code, last.rate, last.eta) == (phase, str(error), error.code, None, None)
    assert capsys.readouterr().err == f"nbdtun: {error} [{error.code}]\n"


def test_the_migrations_own_last_word_is_not_repeated(display: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    error = MirrorFailed("vda: no space left")
    final = evolve(MIRROR, phase=Phase.FAILED, error=str(error))
    assert ended(display, reporting(final, then=fail(error))) == 1
    assert display.shown == [final]
    assert capsys.readouterr().err == "nbdtun: vda: no space left [mirror]\n"


def test_an_error_at_once_is_an_error_too(display: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    def start(report: Report) -> Deferred[Progress]:
        raise ConfigError("/pki: No such file or directory")

    assert ended(display, start) == 2
    assert capsys.readouterr().err == "nbdtun: /pki: No such file or directory [config]\n"


def test_our_own_mistakes_are_called_so(display: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(display, reporting(then=fail(ZeroDivisionError("division by zero")))) == 1
    assert capsys.readouterr().err.startswith("nbdtun: internal error: division by zero [failed]\nTraceback")


class Cancellable:
    """A migration that rolls back when it is cancelled, and takes its time over it, as a cancelled coroutine does."""

    def __init__(self) -> None:
        self.cancelled = 0
        self.rollback: Deferred[Progress] = Deferred()
        self.report: Report = lambda progress: None

    def start(self, report: Report) -> Deferred[Progress]:
        self.report = report
        running: Deferred[Progress] = Deferred()
        return running.addErrback(self._cancel)

    def _cancel(self, failure: Failure) -> Deferred[Progress]:
        failure.trap(CancelledError)
        self.cancelled += 1
        return self.rollback


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_once_and_waits_for_the_rollback(number: int, display: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    migration = Cancellable()

    def rolled_back() -> None:
        final = evolve(MIRROR, phase=Phase.CANCELLED)
        migration.report(final)
        migration.rollback.callback(final)

    reactor = FakeReactor(interrupts(number), interrupts(number), interrupts(signal.SIGTERM), rolled_back)
    before = signal.getsignal(number)
    assert attend_to(reactor, migration.start, display) == 130
    assert migration.cancelled == 1
    assert signal.getsignal(number) == before
    assert capsys.readouterr().err == ("nbdtun: interrupted, rolling back\nnbdtun: already rolling back\nnbdtun: already rolling back\n")


def test_a_plain_cancellation_counts_as_rolled_back(display: Recorder) -> None:
    deferred: Deferred[Progress] = Deferred()
    assert attend_to(FakeReactor(interrupts(signal.SIGINT)), reporting(MIRROR, then=deferred), display) == 130
    assert display.shown[-1].phase is Phase.CANCELLED


def test_an_interrupted_migration_whose_outcome_is_unknown_is_unknown(display: Recorder) -> None:
    migration = Cancellable()
    reactor = FakeReactor(interrupts(signal.SIGINT), lambda: migration.rollback.errback(OutcomeUnknown("ask")))
    assert attend_to(reactor, migration.start, display) == 3


def test_an_interrupt_that_cannot_roll_it_back_any_more_is_told_so(display: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    migration = Cancellable()
    final = evolve(MIRROR, phase=Phase.COMPLETED)
    reactor = FakeReactor(interrupts(signal.SIGINT), lambda: migration.rollback.callback(final))
    assert attend_to(reactor, migration.start, display) == 0
    told = capsys.readouterr().err.splitlines()
    assert told == ["nbdtun: interrupted, rolling back", "nbdtun: too late to interrupt: it had moved before it could be rolled back"]


@pytest.mark.parametrize(("phase", "why"), [(Phase.FINISH, "the destination is taking over"), (Phase.SETTLE, "it runs at the destination")])
def test_an_interrupt_that_comes_too_late_is_told_so(phase: Phase, why: str, display: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    finish, final = evolve(MIRROR, phase=phase), evolve(MIRROR, phase=Phase.COMPLETED)
    deferred: Deferred[Progress] = Deferred()
    reactor = FakeReactor(interrupts(signal.SIGINT), lambda: deferred.callback(final))
    assert attend_to(reactor, reporting(finish, then=deferred), display) == 0
    assert capsys.readouterr().err == f"nbdtun: too late to interrupt: {why}\n"


@pytest.mark.parametrize("gone", [True, False])
def test_a_terminal_that_is_gone_makes_no_signal_deaf(gone: bool, display: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    migration = Cancellable()

    def rolled_back() -> None:
        assert migration.cancelled == 1
        migration.rollback.callback(evolve(MIRROR, phase=Phase.CANCELLED))

    if gone:
        monkeypatch.setattr("sys.stderr", Gone())
    assert attend_to(FakeReactor(interrupts(signal.SIGTERM), interrupts(signal.SIGTERM), rolled_back), migration.start, display) == 130


@pytest.mark.parametrize("by", ["report", "complaint"])
def test_when_the_terminal_goes_away_another_display_goes_on(by: str, display: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    log, terminal, migration = Recorder(), Leaving(), Cancellable()

    def goes() -> None:
        terminal.gone = True
        if by == "report":
            migration.report(MIRROR)

    def comes_to_its_end() -> None:
        final = evolve(MIRROR, phase=Phase.CANCELLED)
        migration.report(final)
        migration.rollback.callback(final)

    script = (goes, interrupts(signal.SIGHUP), interrupts(signal.SIGHUP), interrupts(signal.SIGTERM), comes_to_its_end)
    assert attend(FakeReactor(*script), migration.start, display, terminal, lambda stream: log) == 130  # type: ignore[arg-type]
    assert display.closed
    assert [progress.phase for progress in log.shown][-1] is Phase.CANCELLED
    assert migration.cancelled == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "nbdtun: the terminal was closed; the migration goes on: `nbdtun status` shows it, `nbdtun cancel` rolls it back"
    assert lines[-1] == "nbdtun: interrupted, rolling back"


@pytest.mark.parametrize("phase", [Phase.RAM, Phase.SWITCHOVER, Phase.FINISH])
def test_ctrl_z_does_not_leave_a_guest_paused(phase: Phase, display: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    deferred: Deferred[Progress] = Deferred()
    reactor = FakeReactor(interrupts(signal.SIGTSTP), lambda: deferred.callback(evolve(MIRROR, phase=Phase.COMPLETED)))
    assert attend_to(reactor, reporting(evolve(MIRROR, phase=phase), then=deferred), display) == 0
    line = "nbdtun: Ctrl-Z is ignored in this phase: the guest could stay paused; Ctrl-C rolls the migration back\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize("before", [(), (MIRROR,)])
def test_ctrl_z_stops_it_elsewhere(before: tuple[Progress, ...], display: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    kill = os.kill
    monkeypatch.setattr("os.kill", lambda pid, number: sent.append(number) if number == signal.SIGSTOP else kill(pid, number))
    deferred: Deferred[Progress] = Deferred()
    reactor = FakeReactor(interrupts(signal.SIGTSTP), lambda: deferred.callback(evolve(MIRROR, phase=Phase.COMPLETED)))
    assert attend_to(reactor, reporting(*before, then=deferred), display) == 0
    assert sent == [signal.SIGSTOP]


def test_a_status_has_its_number() -> None:
    numbers: dict[str, Any] = {status.name: status.value for status in Status}
    assert numbers == {"COMPLETED": 0, "FAILED": 1, "USAGE": 2, "UNKNOWN": 3, "LOST": 4, "INTERRUPTED": 130}
