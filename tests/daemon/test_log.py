"""The daemons' lines, in each form; and that a log that fails ends nothing."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

from nbdtun.config.values import LOG_FORMATS, LOG_LEVELS
from nbdtun.daemon.log import json_lines, observer


@pytest.fixture(autouse=True)
def no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)


def told(form: str, level: str = "info", **values: Any) -> str:
    stream = io.StringIO()
    log = Logger("nbdtun.test", observer=observer(stream, form))
    log.emit(LogLevel.lookupByName(level), "web1: {reason}", **{"reason": "no\nroom", **values})
    return stream.getvalue()


def test_text_has_time_and_level_and_is_one_line() -> None:
    line = told("text", "warn")
    assert line.endswith(" warn  web1: no room\n")
    assert line[:2] == "20"


def test_json_has_the_values_of_the_event() -> None:
    event = json.loads(told("json", "error", code="mirror", thing=object()))
    assert event.pop("time") > 0
    assert event == {"level": "error", "source": "nbdtun.test", "text": "web1: no room", "reason": "no\nroom", "code": "mirror"}


@pytest.mark.parametrize("there", [True, False])
def test_the_journal_gets_fields_or_else_lines_with_the_level(there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, int, Any]] = []

    class Fake:
        def send(self, event: LogEvent, text: str, priority: int) -> bool:
            sent.append((text, priority, event.get("code")))
            return there

    monkeypatch.setattr("nbdtun.daemon.log.journal_of", lambda stream: Fake())
    assert told("text", "warn", code="disk") == ("" if there else "<4>web1: no room\n")
    assert sent == [("web1: no room", 4, "disk")]
    assert json.loads(told("json"))["text"] == "web1: no room"  # as was asked for


@pytest.mark.parametrize("form", LOG_FORMATS)
def test_a_failure_has_its_traceback(form: str) -> None:
    stream = io.StringIO()
    log = Logger("nbdtun.test", observer=observer(stream, form))
    log.failure("web1", failure=Failure(ZeroDivisionError("by zero")))
    assert "ZeroDivisionError: by zero" in stream.getvalue()


def test_a_stream_that_fails_ends_nothing() -> None:
    stream = io.StringIO()
    stream.close()
    Logger("nbdtun.test", observer=observer(stream, "text")).info("lost")


def test_twistd_gets_json_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Logger("nbdtun.test", observer=json_lines()).info("hello")
    assert json.loads(capsys.readouterr().out)["text"] == "hello"


def test_the_levels_are_twisteds() -> None:
    assert LOG_LEVELS == ("debug", "info", "warn", "error", "critical")
