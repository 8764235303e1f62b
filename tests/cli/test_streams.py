"""What the command says on standard error, whatever that is."""

from __future__ import annotations

import pytest

from nbdtun.cli.streams import complain
from tests.cli.stage import Gone


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("one\n  two")
    assert capsys.readouterr() == ("", "nbdtun: one two\n")


def test_a_complaint_has_nothing_that_a_terminal_obeys(capsys: pytest.CaptureFixture[str]) -> None:
    complain("no\x1b]0;owned\x07\u202e\nnbdtun: all is well")
    assert capsys.readouterr() == ("", "nbdtun: no?]0;owned?? nbdtun: all is well\n")


def test_a_terminal_that_is_gone_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Gone())
    complain("interrupted, rolling back")
