"""What the command says on standard error, whatever that is."""

from __future__ import annotations

import pytest

from nbdtun.cli.streams import complain
from tests.cli.stage import Gone


def test_a_complaint_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    complain("one\n  two")
    assert capsys.readouterr() == ("", "nbdtun: one two\n")


def test_a_terminal_that_is_gone_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", Gone())
    complain("interrupted, rolling back")
