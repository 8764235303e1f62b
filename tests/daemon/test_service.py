"""A service that cannot start ends twistd with one line; one that has done its work, with a status."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.testing import MemoryReactor

from nbdtun.daemon.service import Daemon, leave, stop
from nbdtun.errors import ConfigError, GuestLost, MirrorFailed, NbdtunError, OutcomeUnknown


class Failing(Service):
    """A service with a port that is taken."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def privilegedStartService(self) -> None:
        raise self._error


class Signals:
    """The module signal, without a process: the tests' own keeps its handlers."""

    def __init__(self) -> None:
        self.handlers: dict[int, Any] = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_DFL)
        self.held: set[int] = {signal.SIGCHLD}
        self.getsignal = self.handlers.__getitem__
        self.signal = self.handlers.__setitem__

    def __getattr__(self, name: str) -> Any:
        return getattr(signal, name)

    def send(self, number: int) -> None:
        self.handlers[number](number, None)

    def pthread_sigmask(self, how: int, which: set[int]) -> set[int]:
        before = self.held
        self.held = before | which if how == signal.SIG_BLOCK else which
        return before


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> Signals:
    signals = Signals()
    monkeypatch.setattr("nbdtun.daemon.service.signal", signals)
    return signals


def start(daemon: Daemon) -> None:
    daemon.privilegedStartService()
    daemon.startService()


def test_it_holds_its_services() -> None:
    one, other = Service(), Service()
    start(Daemon(MemoryReactor(), "nbdtun-dest", {}, one, other))
    assert one.running
    assert other.running


class Draining(Service):
    """A service that has something to finish."""

    def __init__(self) -> None:
        self.asked = 0
        self.drained: Deferred[None] = Deferred()

    def drain(self) -> Deferred[None]:
        self.asked += 1
        return self.drained


class Running(MemoryReactor):
    """A reactor that runs what its threads ask for at once, and is stopped once."""

    stops = 0

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)

    def stop(self) -> None:
        super().stop()
        self.stops += 1
        if self.stops > 1:
            raise ReactorNotRunning


def running(signals: Signals, *services: Service, **options: Any) -> Running:
    reactor = Running()
    start(Daemon(reactor, "nbdtun-dest", {}, *services, **options))
    reactor.run()
    reactor.stops = 0  # a MemoryReactor stops as soon as it runs
    return reactor


def test_what_ends_it_waits_until_the_reactor_handles_it(signals: Signals) -> None:
    reactor, service = MemoryReactor(), Service()
    waiting: list[set[int]] = []
    service.privilegedStartService = lambda: waiting.append(signals.held)  # type: ignore[method-assign]
    start(Daemon(reactor, "nbdtun-dest", {}, service))
    assert waiting == [{signal.SIGCHLD, signal.SIGINT, signal.SIGTERM, signal.SIGHUP}] == [signals.held]
    reactor.run()
    assert signals.held == {signal.SIGCHLD}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_its_services_finish(signals: Signals, number: signal.Signals) -> None:
    service = Draining()
    reactor = running(signals, service, Service())
    signals.send(number)
    assert (service.asked, reactor.stops) == (1, 0)
    service.drained.callback(None)
    assert reactor.stops == 1


def test_one_with_nothing_to_finish_is_stopped_at_once(signals: Signals) -> None:
    reactor = running(signals, Service())
    signals.send(signal.SIGTERM)
    assert reactor.stops == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_waits_for_nothing(signals: Signals, number: signal.Signals) -> None:
    service = Draining()
    reactor = running(signals, service)
    signals.send(signal.SIGTERM)
    signals.send(signal.SIGHUP)  # of the terminal, perhaps the second of two
    assert reactor.stops == 0
    signals.send(number)
    assert (service.asked, reactor.stops) == (1, 1)
    signals.send(number)
    assert reactor.stops == 1


def test_one_that_cannot_finish_is_stopped_all_the_same(signals: Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[type[BaseException]] = []
    monkeypatch.setattr(Daemon.log, "failure", lambda text, failure: logged.append(failure.type))
    service = Draining()
    reactor = running(signals, service)
    signals.send(signal.SIGTERM)
    service.drained.errback(ZeroDivisionError())
    assert reactor.stops == 1
    assert logged == [ZeroDivisionError]


def test_one_that_outlives_its_terminal_does_so(signals: Signals) -> None:
    service = Draining()
    reactor = running(signals, service, outlives_terminal=True)
    signals.send(signal.SIGHUP)
    signals.send(signal.SIGHUP)
    assert (service.asked, reactor.stops) == (0, 0)
    signals.send(signal.SIGTERM)
    assert service.asked == 1
    service.drained.callback(None)


class FakeReload:
    """What stands for a configuration file."""

    def __init__(self) -> None:
        self.possible = True
        self.asked = 0

    def at_signal(self) -> None:
        self.asked += 1


def test_a_configuration_file_is_read_again(signals: Signals) -> None:
    """SIGTERM ends it as before; and so does SIGHUP where there is no file."""
    service, reload = Draining(), FakeReload()
    running(signals, service, reload=reload)
    signals.send(signal.SIGHUP)
    signals.send(signal.SIGHUP)
    assert (service.asked, reload.asked) == (0, 2)
    reload.possible = False
    signals.send(signal.SIGHUP)
    assert (service.asked, reload.asked) == (1, 2)
    service.drained.callback(None)


@pytest.mark.parametrize("gone", [True, False])
def test_a_terminal_that_is_closed_ends_it_all_the_same(signals: Signals, gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.daemon.service.os.isatty", lambda number: number == 2)
    monkeypatch.setattr("nbdtun.daemon.service.gone", lambda number: gone)
    service, reload = Draining(), FakeReload()
    running(signals, service, reload=reload)
    signals.send(signal.SIGHUP)
    assert (service.asked, reload.asked) == ((1, 0) if gone else (0, 1))
    service.drained.callback(None)


def test_it_is_stopped_once(signals: Signals) -> None:
    reactor = MemoryReactor()
    start(Daemon(reactor, "nbdtun-dest", {}))
    for call, arguments, _ in reactor.triggers["before"]["shutdown"]:
        call(*arguments)
    assert signals.handlers == dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), signal.SIG_IGN)
    stop(Running())
    ended = Running()
    ended.stop()
    stop(ended)


def test_nohup_is_heeded(signals: Signals) -> None:
    signals.handlers[signal.SIGHUP] = signal.SIG_IGN
    running(signals)
    assert signals.handlers[signal.SIGHUP] == signal.SIG_IGN
    assert callable(signals.handlers[signal.SIGTERM])


class TestItCannotStart:
    TAKEN = ConfigError("tcp:1: Address already in use")

    def start(self, *services: Service, **twistd: Any) -> None:
        Daemon(self.reactor, "nbdtun-dest", {"pidfile": "", **twistd}, *services).privilegedStartService()

    @pytest.fixture(autouse=True)
    def make_reactor(self) -> None:
        self.reactor = MemoryReactor()

    def test_it_says_so_in_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            self.start(Failing(self.TAKEN))
        assert ended.value.code == 1
        assert capsys.readouterr().err == "nbdtun-dest: tcp:1: Address already in use [config]\n"

    def test_whoever_is_told_finds_the_line_in_the_log(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        logged: list[str] = []
        monkeypatch.setattr(os, "write", lambda pipe, told: logged.append(capsys.readouterr().err))
        with pytest.raises(SystemExit):
            self.start(Failing(self.TAKEN), statusPipe=7)
        assert logged == ["nbdtun-dest: tcp:1: Address already in use [config]\n"]

    def test_what_has_started_is_stopped_before_the_process_ends(self) -> None:
        started = Service()
        stopped = []
        started.stopService = lambda: stopped.append(self.reactor.hasRun)  # type: ignore[method-assign]
        with pytest.raises(SystemExit):
            self.start(started, Failing(self.TAKEN))
        assert stopped == [True]
        assert self.reactor.hasStopped

    def test_the_process_at_the_terminal_is_told(self) -> None:
        reading, writing = os.pipe()
        with open(reading, "rb") as told, open(writing, "wb"):
            with pytest.raises(SystemExit):
                self.start(Failing(self.TAKEN), statusPipe=writing)
            assert told.read1() == b"1 nbdtun-dest: tcp:1: Address already in use [config]"
            with pytest.raises(SystemExit):
                self.start(Failing(ConfigError(f"unix:/{'é' * 100}: taken")), statusPipe=writing)
            assert told.read1() == (b"1 nbdtun-dest: unix:/" + rb"\xe9" * 100)[:100]

    def test_its_pidfile_goes(self, tmp_path: Path) -> None:
        pidfile = tmp_path / "d.pid"
        pidfile.write_text("1")
        for _ in "there", "gone":
            with pytest.raises(SystemExit):
                self.start(Failing(self.TAKEN), pidfile=f"{pidfile}")
            assert not pidfile.exists()

    def test_bugs_are_not_hidden(self) -> None:
        with pytest.raises(ZeroDivisionError):
            self.start(Failing(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, None),
        (MirrorFailed("vda: no space left"), 1),
        (OutcomeUnknown("ask the destination"), 3),
        (GuestLost("it has crashed"), 4),
    ],
)
def test_a_daemon_whose_work_is_done_leaves(monkeypatch: pytest.MonkeyPatch, error: NbdtunError | None, status: int | None) -> None:
    last: list[int] = []
    monkeypatch.setattr("atexit.register", lambda end, number: last.append(number))
    reactor = MemoryReactor()
    reactor.hasStopped = False  # an older Twisted begins with True
    leave(reactor, error)
    assert not reactor.hasStopped  # it has not begun
    reactor.run()
    assert reactor.hasStopped
    assert last == ([] if status is None else [status])
