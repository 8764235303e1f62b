"""QEMU's user as an attacker: a process that renames a symbolic link over each name that appears in a directory."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lab.process import Process

QEMU = 65001
"""The user that it is; nobody has this number."""

_SOURCE = Path(__file__).with_suffix(".c")


def unable() -> str:
    """Why there can be none here; empty if there can."""
    return "" if shutil.which("cc") else "there is no C compiler"


class Attacker(Process):
    """It works in directories of its own, and its links lead to `victim`."""

    def __init__(self, directory: Path, victim: Path, *places: Path) -> None:
        program = directory / "attacker"
        if not program.exists():
            subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-o", program, _SOURCE], check=True)
        super().__init__([program, f"{QEMU}", victim, *places], directory / "attacker.log")
        self.wait_log("ready")
