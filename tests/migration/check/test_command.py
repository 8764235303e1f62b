from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.errors import ProtocolViolation
from nbdtun.migration.check.command import Check
from nbdtun.migration.control.rows import MAX_FINDINGS, MAX_NAME, MAX_REMEDY, MAX_WHAT, findings_of, rows_of_findings
from nbdtun.migration.finding import Finding, Level
from nbdtun.versions import Agreed

AGREED = Agreed(1).fields()
texts = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=100)
short = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=MAX_NAME)
findings = st.builds(Finding, st.sampled_from(Level), texts, texts, texts, texts, short)


def crossed(found: list[Finding]) -> tuple[Finding, ...]:
    """What the other end makes of it."""
    box = Check.makeResponse({**AGREED, "findings": rows_of_findings(found), "time": 5}, None)
    answer: Any = Check.parseResponse(box, None)
    assert answer["time"] == 5
    return findings_of(answer["findings"])


@given(st.lists(findings, max_size=MAX_FINDINGS))
def test_findings_cross(found: list[Finding]) -> None:
    assert crossed(found) == tuple(found)


def test_as_many_as_are_allowed_fit_into_a_message() -> None:
    long = Finding(Level.WARNING, "disks", "w" * 1000, "r" * 1000, "not-migratable", "n" * 1000)
    got = crossed([long] * 1000)
    assert len(got) == MAX_FINDINGS
    assert (len(got[0].what), len(got[0].remedy)) == (MAX_WHAT, MAX_REMEDY)
    (row,) = rows_of_findings([long])
    assert len(Check.makeResponse({**AGREED, "findings": [row] * MAX_FINDINGS, "time": 5}, None)[b"findings"]) <= 65535


def test_more_than_that_are_refused() -> None:
    rows = rows_of_findings([Finding(Level.OK, "a", "b")]) * (MAX_FINDINGS + 1)
    box = Check.makeResponse({**AGREED, "findings": rows, "time": 5}, None)
    with pytest.raises(ProtocolViolation, match="the answer to Check is malformed"):
        Check.parseResponse(box, None)


def test_a_level_of_a_later_version_is_a_warning() -> None:
    assert findings_of([{"level": "grave", "check": "a", "what": "b", "remedy": "", "code": "", "name": ""}])[0].level is Level.WARNING
