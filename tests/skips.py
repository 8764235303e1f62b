"""What a run has skipped, by its reasons: a skip is a hole, and who reads the result has to know of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import pytest


def reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Why it was skipped."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else f"{report.longrepr}"
    return text.removeprefix("Skipped: ")


def summary(reports: Iterable[pytest.TestReport | pytest.CollectReport]) -> Iterator[str]:
    """A line for each reason, the most frequent first."""
    for why, count in Counter(map(reason, reports)).most_common():
        yield f"{count} skipped: {why}"
