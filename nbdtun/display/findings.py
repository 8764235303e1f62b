"""
Findings for people: one line each, as they are made, and one with the verdict.

On a terminal, lines that are too long go on below their text, and a failure is red. In a log each finding is one line of plain text.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable
from typing import Final, TextIO

from nbdtun.errors import printable
from nbdtun.migration.check.report import Report
from nbdtun.migration.finding import Finding, Level

#: The columns before a finding's text.
_INDENT: Final = 30
#: ANSI's colours: red, and yellow.
_STYLES: Final = {Level.FAILURE: "31", Level.WARNING: "33"}


class Findings:
    """Prints to ``stream``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = shutil.get_terminal_size().columns if stream.isatty() else 0
        self._colours = bool(self._width) and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def show(self, finding: Finding) -> None:
        """Print one line."""
        line = f"{finding.level.value:8} {finding.check:20} {printable(str(finding))}"
        self._say(line, _STYLES.get(finding.level, ""), " " * _INDENT)

    def conclude(self, report: Report) -> None:
        """Print the verdict."""
        can = "cannot be migrated" if report.level is Level.FAILURE else "can be migrated"
        style = "32" if report.level is Level.OK else _STYLES[report.level]
        self._say(": ".join([f"{report.vm} {can}", *_counted(report.findings)]), style)

    def _say(self, line: str, style: str, indent: str = "") -> None:
        if self._width > 2 * _INDENT:
            line = textwrap.fill(line, self._width - 1, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        if style and self._colours:
            line = f"\x1b[{style}m{line}\x1b[0m"
        self._stream.write(line + "\n")
        self._stream.flush()


def _counted(findings: Iterable[Finding]) -> list[str]:
    levels = [finding.level for finding in findings]
    counts = [(levels.count(level), level.value) for level in (Level.FAILURE, Level.WARNING)]
    words = [f"{count} {noun}{'s' if count > 1 else ''}" for count, noun in counts if count]
    return [", ".join(words)] if words else []
