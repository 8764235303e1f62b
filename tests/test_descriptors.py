"""The limit of open files, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = "import resource; from nbdtun.descriptors import make_room; print(make_room({}), *resource.getrlimit(resource.RLIMIT_NOFILE))"


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "then"),
    [(64, 4096, 500, "500 500 4096"), (64, 300, 500, "300 300 300"), (800, 4096, 500, "800 800 4096")],
)
def test_the_soft_limit_is_raised_as_far_as_it_may_be(soft: int, hard: int, wanted: int, then: str) -> None:
    command = ["prlimit", f"--nofile={soft}:{hard}", sys.executable, "-c", CODE.format(wanted)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == then
