"""
`python3 lab/version.py`: the version of what this checkout builds. The wheel, the sdist and Debian's package have the same.

It is that of the tag at HEAD, `v0.1.0`. Elsewhere it is one before the next release, `0.1.0.dev20261130+g1a2b3c4`: that of
`nbdtun/__init__.py`, the date and the commit. `setup.py` runs this file as it is, in whatever environment builds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

PROJECT = Path(__file__).parent.parent

#: v0.2.0rc1 comes before v0.2.0.
_RELEASE_LAST = [word for suffix in ("a", "b", "rc") for word in ("-c", f"versionsort.suffix={suffix}")]

_STATED = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def version() -> str:
    """It, as PEP 440 has it. A copy without its history has what it says of itself."""
    coming: str = _STATED.findall((PROJECT / "nbdtun/__init__.py").read_text())[0]
    if not (PROJECT / ".git").exists() or shutil.which("git") is None:
        return coming
    if tags := _git("tag", "--points-at", "HEAD", "--list", "v[0-9]*", "--sort=-version:refname"):
        return tags.split()[0].removeprefix("v")
    return f"{coming}.dev{_git('log', '-1', '--format=%cd+g%h', '--date=format:%Y%m%d')}"


def state(told: str, tree: Path) -> None:
    """Have a copy of this tree say that it is of a version."""
    own = tree / "nbdtun/__init__.py"
    text = _STATED.sub(f'__version__ = "{told}"', own.read_text())
    own.unlink()  # it may be a link to this checkout's
    own.write_text(text)


def _git(*words: str) -> str:
    """What git says of this checkout, whoever owns it."""
    command = ["git", "-c", f"safe.directory={PROJECT}", *_RELEASE_LAST, *words]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.strip()


def debian(told: str) -> str:
    """The same as Debian orders versions: `0.1.0~git20261130.1a2b3c4`, `0.2.0~rc1`."""
    return re.sub(r"^([\d.]+)(a|b|rc)", r"\1~\2", re.sub(r"\.dev(\d+)\+g", r"~git\1.", told))


if __name__ == "__main__":
    print(version())
