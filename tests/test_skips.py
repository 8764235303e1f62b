from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.skips import summary

SLOW = "slow; make chaos runs it, or NBDTUN_SLOW=1"


def report(longrepr: tuple[str, int, str] | str) -> pytest.TestReport:
    return pytest.TestReport("tests/a.py::test_b", ("tests/a.py", 1, "test_b"), {}, "skipped", longrepr, "setup")


def test_reasons_are_counted_and_the_most_frequent_comes_first() -> None:
    skipped = [report(("a.py", 9, "Skipped: no cc")), *(report(("b.py", line, f"Skipped: {SLOW}")) for line in (3, 4))]
    assert list(summary(skipped)) == [f"2 skipped: {SLOW}", "1 skipped: no cc"]


def test_a_reason_that_is_only_text() -> None:
    assert list(summary([report("expected to fail")])) == ["1 skipped: expected to fail"]


def test_a_run_ends_with_them(tmp_path: Path) -> None:
    """Also where workers have run the tests."""
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_terminal_summary\n")
    (tmp_path / "test_it.py").write_text("import pytest\n\ndef test_one():\n    pytest.skip('no cable')\n\ntest_two = test_one\n")
    command = [sys.executable, "-m", "pytest", "-q", "-n1", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", f"{tmp_path}"]
    run = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    assert "\n2 skipped: no cable\n" in run.stdout, run.stdout + run.stderr
