"""What is told on standard error beside the progress, and what is left to the display."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence

import pytest
from twisted.logger import ILogObserver, Logger, LogPublisher, globalLogPublisher
from twisted.python.failure import Failure

from nbdtun.cli import streams
from nbdtun.cli.log import log_to_stderr
from nbdtun.errors import MirrorFailed
from nbdtun.logs import about

MIGRATION, CHANNEL = "nbdtun.migration.source.migration", "nbdtun.tunnel.channels.channel"
Tell = Callable[..., None]


class Beginner:
    """Twisted's, which can begin but once in a process."""

    def __init__(self) -> None:
        self.publisher = LogPublisher()

    def beginLoggingTo(self, observers: Sequence[ILogObserver], *, redirectStandardIO: bool) -> None:
        assert not redirectStandardIO  # a display may be writing there
        for observer in observers:
            self.publisher.addObserver(observer)


@pytest.fixture
def in_json(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lines are JSON meanwhile."""

    class Global(Beginner):
        def __init__(self) -> None:
            super().__init__()
            self.publisher = globalLogPublisher

    before = list(globalLogPublisher._observers)
    monkeypatch.setattr("twisted.logger.globalLogBeginner", Global())
    monkeypatch.setattr(streams, "log_instead", [])
    log_to_stderr(bars=True, form="json")
    yield
    for observer in set(globalLogPublisher._observers) - set(before):
        globalLogPublisher.removeObserver(observer)


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], Tell]:
    """Begin, with or without bars; what tells then that something has happened."""

    def begin(bars: bool) -> Tell:
        beginner = Beginner()
        monkeypatch.setattr("twisted.logger.globalLogBeginner", beginner)
        log_to_stderr(bars=bars)

        def happened(namespace: str, level: str, text: str) -> None:
            getattr(Logger(namespace, observer=beginner.publisher), level)(text)

        return happened

    return begin


def test_what_the_migration_has_to_say(tell: Callable[[bool], Tell], capsys: pytest.CaptureFixture[str]) -> None:
    happened = tell(True)
    happened(MIGRATION, "info", "web1: bandwidth is now 1 MiB/s")
    happened("nbdtun.service.control.migration", "warn", "web1: cancelled by another command, rolling back")
    happened(MIGRATION, "debug", "query-status")
    assert capsys.readouterr() == (
        "",
        "nbdtun: web1: bandwidth is now 1 MiB/s\nnbdtun: web1: cancelled by another command, rolling back\n",
    )


@pytest.mark.parametrize("bars", [True, False])
def test_bars_show_a_lost_link_themselves(bars: bool, tell: Callable[[bool], Tell], capsys: pytest.CaptureFixture[str]) -> None:
    tell(bars)(CHANNEL, "warn", "link lost")
    assert capsys.readouterr().err == ("" if bars else "nbdtun: link lost\n")


@pytest.mark.parametrize("namespace", ["nbdtun.tunnel.source.dialer", "twisted.internet.tcp", "elsewhere"])
def test_others_are_heard_when_something_is_broken_only(
    namespace: str, tell: Callable[[bool], Tell], capsys: pytest.CaptureFixture[str]
) -> None:
    happened = tell(False)
    happened(namespace, "error", "not told")
    happened(namespace, "critical", "a bug")
    assert capsys.readouterr().err == "nbdtun: a bug\n"


def test_json_has_all_that_the_command_says_with_its_keys(in_json: None, capsys: pytest.CaptureFixture[str]) -> None:
    with about(vm="web1"):
        streams.complain("vda: no space left [mirror]", "error", code=MirrorFailed.code, session="")
        streams.tell("web1: to ssh://dest")
    failed, told = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert (failed["level"], failed["vm"], failed["code"], failed["text"]) == ("error", "web1", "mirror", "vda: no space left [mirror]")
    assert "session" not in failed
    assert (told["level"], told["text"]) == ("info", "web1: to ssh://dest")


def test_json_goes_where_standard_error_is_by_then(in_json: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bars, and the log of a closed terminal, take its place."""
    asked: list[int] = []
    monkeypatch.setattr(streams, "before_complaint", [lambda: asked.append(1)])
    bars = io.StringIO()
    monkeypatch.setattr(sys, "stderr", bars)
    Logger(MIGRATION).info("web1: bandwidth is now 1 MiB/s")
    assert json.loads(bars.getvalue())["text"] == "web1: bandwidth is now 1 MiB/s"
    assert asked == [1]


def test_a_fault_of_ours_has_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failure = Failure(ZeroDivisionError("by zero"))
    streams.show_fault(failure)
    assert "ZeroDivisionError: by zero" in capsys.readouterr().err
    logged: list[tuple[str, object]] = []
    monkeypatch.setattr(streams, "log_instead", [lambda text, level, **known: logged.append((level, known["log_failure"]))])
    streams.show_fault(failure)
    assert (logged, capsys.readouterr().err) == ([("critical", failure)], "")
