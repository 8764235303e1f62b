"""``nbdtun set``: what it asks for, in the units of the wire, and what it says then."""

from __future__ import annotations

import pytest

from nbdtun.errors import TooLate
from tests.cli.stage import REPORT, SENTENCE, Running, run


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("--bandwidth 500MiB", {"bandwidth": 500 << 20}),
        ("--bandwidth none", {"bandwidth": 0}),
        ("--downtime 1500ms", {"downtime": 1500}),
        ("--switchover now", {"switchover": 0}),
        ("--bandwidth 1k --downtime 2s", {"bandwidth": 1024, "downtime": 2000}),
    ],
)
def test_only_what_is_given_is_changed(words: str, wanted: dict[str, int], running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.reports = [{**REPORT, "bandwidth": None, "downtime": 0.3}]
    assert run(capsys, "set", "web1", *words.split()) == (0, f"{SENTENCE}; no bandwidth limit, downtime 300 ms\n", "")
    assert running.asked == [("web1", "Set", wanted)]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("set",), "Missing argument 'VM|SOCKET|@PID'."),
        (("set", "web1"), "nothing to set: give --bandwidth, --downtime or --switchover"),
        (("set", "web1", "--bandwidth", "0"), "Invalid value for '--bandwidth': bandwidth must be more than 0; for no limit, give none"),
        (("set", "web1", "--bandwidth", "fast"), "Invalid value for '--bandwidth': 'fast' is not a rate"),
        (("set", "web1", "--switchover", "later"), "Invalid value for '--switchover': 'later' is not a moment such as 02:00"),
        (("set", "web1", "--downtime", "soon"), "Invalid value for '--downtime': 'soon' is not a duration"),
    ],
)
def test_wrong_usage_asks_nobody(words: tuple[str, ...], line: str, running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, *words)
    assert (status, out) == (2, "")
    assert err.startswith(f"nbdtun: {line}")
    assert err.count("\n") == 1
    assert running.asked == []


def test_too_late(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    running.error = TooLate("web1: its limits cannot be changed in phase finish")
    assert run(capsys, "set", "web1", "--bandwidth", "1k") == (1, "", f"nbdtun: {running.error.line}\n")
