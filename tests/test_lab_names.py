"""The lab's scripts are run by their paths, too: each finds its neighbours before Python's own modules."""

from __future__ import annotations

import sys
from pathlib import Path

LAB = Path(__file__).parent.parent / "lab"
HARMLESS = {"zipapp"}
"""No module of Python's imports it."""


def test_no_module_of_the_lab_hides_one_of_pythons() -> None:
    hidden = {path.stem for path in LAB.glob("*.py")} & set(sys.stdlib_module_names)
    assert hidden <= HARMLESS
