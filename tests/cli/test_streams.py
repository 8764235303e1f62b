"""What the command says on standard error, whatever that is."""

from __future__ import annotations

import pytest

from nbdtun.cli.streams import before_complaint, complain, tell
from nbdtun.service.tunnel.reached import Step
from tests.cli.stage import Gone


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("one\n  two")
    assert capsys.readouterr() == ("", "nbdtun: one two\n")


def test_a_complaint_has_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    complain("no\x1b]0;owned\x07\u202e\nnbdtun: all is well")
    assert capsys.readouterr() == ("", "nbdtun: no?]0;owned?? nbdtun: all is well\n")


def test_a_complaint_may_get_another_place_first(capsys: pytest.CaptureFixture[str]) -> None:
    prepared: list[str] = []
    before_complaint.append(lambda: prepared.append("ready"))
    complain("interrupted")
    before_complaint.clear()
    assert prepared == ["ready"]


def test_a_terminal_that_is_gone_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Gone())
    complain("interrupted, rolling back")


@pytest.mark.parametrize("watched", [True, False])
def test_a_step_is_told_to_who_watches(watched: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: watched)
    tell(Step("web1: connecting to ssh://dest"))
    tell("web1: made its destination")
    step = "nbdtun: web1: connecting to ssh://dest\n" * watched
    assert capsys.readouterr() == ("", f"{step}nbdtun: web1: made its destination\n")
