"""An environment that has nbdtun from a wheel, as an operator's has; another wheel can be installed in its place while it runs.

Its libraries are those of ours.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from lab.version import state

PROJECT = Path(__file__).parent.parent


def wheel(directory: Path, version: str, commit: str = "") -> Path:
    """Make the wheel of a commit, or of this tree as it is, in `directory`; it says that it is of `version`."""
    tree = directory / version
    tree.mkdir(parents=True)
    subprocess.run(f"{_files(commit)} | tar -x -C {tree}", shell=True, check=True, cwd=PROJECT)
    state(version, tree)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", directory, tree)
    return next(directory.glob(f"nbdtun-{version}-*.whl"))


def _files(commit: str) -> str:
    """The command that prints them, as an archive."""
    return f"git archive {commit}" if commit else "git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=-"


def _pip(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *words], check=True, stdin=subprocess.DEVNULL)


class Environment:
    """The environment in `home`."""

    def __init__(self, home: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
        self._python = home / "bin" / "python"
        self.command = home / "bin" / "nbdtun"
        """Its `nbdtun`."""
        own = Path(sysconfig.get_path("purelib", "venv", {"base": f"{home}"}))
        (own / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")

    def install(self, made: Path) -> None:
        """Install a wheel in the place of what there is."""
        _pip("--python", self._python, "install", "--no-deps", "--no-index", "--force-reinstall", made)
