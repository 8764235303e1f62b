"""What of QEMU's answers is relied upon, and what becomes of one that does not fit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import nbdtun
from nbdtun.migration.qmp.schema import ANSWERS, EVENTS, mismatch

ROOT = Path(nbdtun.__file__).parent / "migration"

FITTING: dict[str, Any] = {
    "query-status": {"status": "running", "running": True, "singlestep": False},
    "query-block": [
        {"device": "", "qdev": "vda", "inserted": {"node-name": "#block1", "ro": False, "drv": "raw", "image": {"virtual-size": 1}}},
        {"device": "floppy0", "locked": False},
    ],
    "query-migrate": {"status": "failed", "error-desc": "line one\nline two", "blocked-reasons": ["because\n"]},
    "query-jobs": [],
    "query-memory-size-summary": {"base-memory": 0},
}


@pytest.mark.parametrize("command", FITTING)
def test_an_answer_that_fits(command: str) -> None:
    assert mismatch(ANSWERS[command], FITTING[command]) == ""


@pytest.mark.parametrize(
    ("command", "answer", "wrong"),
    [
        ("query-status", None, "it is not an object"),
        ("query-status", {}, "status is missing"),
        ("query-status", {"status": 7}, "status is not printable text"),
        ("query-status", {"status": "\x1b[2J"}, "status is not printable text"),
        ("query-jobs", {}, "it is not a list"),
        ("query-jobs", [{"id": "a"}, []], "[] is not an object"),
        ("query-jobs", [{"id": None}], "[].id is not printable text"),
        ("query-block", [{"inserted": {"image": {"virtual-size": -1}}}], "[].inserted.image.virtual-size is not a non-negative integer"),
        ("query-block", [{"inserted": {"image": {"virtual-size": 1.0}}}], "[].inserted.image.virtual-size is not a non-negative integer"),
        ("query-block", [{"inserted": {"image": {"virtual-size": True}}}], "[].inserted.image.virtual-size is not a non-negative integer"),
        (
            "query-block",
            [{"inserted": {"image": {"virtual-size": 1 << 63}}}],
            "[].inserted.image.virtual-size is not a non-negative integer",
        ),
        ("query-block", [{"inserted": {"ro": 1}}], "[].inserted.ro is not true or false"),
        ("query-migrate", {"blocked-reasons": [None]}, "blocked-reasons[] is not text"),
        ("qom-get", ["cfi.pflash01"], "it is not printable text"),
    ],
)
def test_an_answer_that_does_not(command: str, answer: Any, wrong: str) -> None:
    assert mismatch(ANSWERS[command], answer) == wrong


def test_nothing_is_asked_whose_answer_has_no_shape() -> None:
    asking = r'(?:execute\(|_ask\(monitor,)\s*"((?:x-(?:debug-)?)?query-[a-z-]+|qom-get|qom-list)"'
    asked = set(re.findall(asking, "".join(path.read_text() for path in ROOT.rglob("*.py"))))
    assert asked == set(ANSWERS)


def test_no_event_is_waited_for_that_has_no_shape() -> None:
    named = set(re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', "".join((ROOT / "vm" / f"{name}.py").read_text() for name in ("mirror", "memory"))))
    assert named - {"COPYING"} == set(EVENTS)
