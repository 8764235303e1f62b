"""Findings as lines, and the verdict below them."""

from __future__ import annotations

import io

import pytest

from nbdtun.display.findings import Findings
from nbdtun.migration.check.report import Report
from nbdtun.migration.finding import Finding, Level

OK = Finding(Level.OK, "state", "the guest runs")
WARNING = Finding(Level.WARNING, "clock", "it is two hours behind", "set it")
FAILURE = Finding(Level.FAILURE, "machine", "they differ", "make them alike", "not-migratable")


def shown(*findings: Finding) -> list[str]:
    stream = io.StringIO()
    display = Findings(stream)
    for finding in findings:
        display.show(finding)
    display.conclude(Report("web1", max((each.level for each in findings), key=list(Level).index), findings))
    return stream.getvalue().splitlines()


def test_a_finding_is_a_line_in_columns() -> None:
    assert shown(OK, WARNING)[:2] == [
        "ok       state                the guest runs",
        "warning  clock                it is two hours behind; set it",
    ]


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ((OK,), "web1 can be migrated"),
        ((OK, WARNING), "web1 can be migrated: 1 warning"),
        ((WARNING, WARNING), "web1 can be migrated: 2 warnings"),
        ((OK, FAILURE), "web1 cannot be migrated: 1 failure"),
        ((FAILURE, WARNING, FAILURE), "web1 cannot be migrated: 2 failures, 1 warning"),
    ],
)
def test_the_verdict_counts_what_stands_above_it(findings: tuple[Finding, ...], verdict: str) -> None:
    assert shown(*findings)[-1] == verdict


def test_what_others_have_named_stays_on_its_line() -> None:
    assert shown(Finding(Level.WARNING, "disks", "v\x1b[2Jda\n is odd"))[0] == "warning  disks                v?[2Jda is odd"


class Flushed(io.StringIO):
    """Counts how much can be read already."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def flush(self) -> None:
        self.seen.append(self.getvalue().count("\n"))


def test_each_line_is_there_at_once() -> None:
    stream = Flushed()
    display = Findings(stream)
    display.show(OK)
    display.show(WARNING)
    assert stream.seen == [1, 2]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_whole_words_and_a_red_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    what, remedy = "00:10.0 virtio-rng is missing at the destination", "start it with the same devices"
    Findings(stream).show(Finding(Level.FAILURE, "devices", what, remedy))
    assert stream.getvalue() == (
        "\x1b[31mfailure  devices              00:10.0 virtio-rng is missing at the destination;\n"
        "                              start it with the same devices\x1b[0m\n"
    )
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    Findings(plain).show(FAILURE)
    assert plain.getvalue() == "failure  machine              they differ; make them alike\n"
