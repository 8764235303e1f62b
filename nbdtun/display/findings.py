"""Findings for people: one line each, as they are made, and one with the verdict. Plain text, on a terminal as in a log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from nbdtun.errors import printable
from nbdtun.migration.check.report import Report
from nbdtun.migration.finding import Finding, Level


class Findings:
    """Prints to ``stream``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, finding: Finding) -> None:
        """Print one line."""
        self._say(f"{finding.level.value:8} {finding.check:20} {printable(str(finding))}")

    def conclude(self, report: Report) -> None:
        """Print the verdict."""
        can = "cannot be migrated" if report.level is Level.FAILURE else "can be migrated"
        self._say(": ".join([f"{report.vm} {can}", *_counted(report.findings)]))

    def _say(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def _counted(findings: Iterable[Finding]) -> list[str]:
    levels = [finding.level for finding in findings]
    counts = [(levels.count(level), level.value) for level in (Level.FAILURE, Level.WARNING)]
    words = [f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in counts if count]
    return [", ".join(words)] if words else []
