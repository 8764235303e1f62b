"""An older commit of this tree, in an environment of its own: its commands, as if its package was installed.

The environment has the same libraries as ours, and that commit's nbdtun in the place of this tree's.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

PROJECT = Path(__file__).parent.parent

_COMMANDS = {
    "nbdtun": "from nbdtun.cli import main",
    "twistd": "from twisted.scripts.twistd import run as main",
}


def missing(commit: str) -> str:
    """Why there can be no such tree; empty if there can."""
    there = subprocess.run(["git", "-C", PROJECT, "cat-file", "-e", f"{commit}^{{commit}}"], stderr=subprocess.DEVNULL)
    return "" if there.returncode == 0 else f"this checkout has no commit {commit}"


def older(commit: str, directory: Path) -> Path:
    """Make it in `directory`; the directory with its commands."""
    tree, home = directory / "tree", directory / "venv"
    tree.mkdir(parents=True)
    with subprocess.Popen(["git", "-C", PROJECT, "archive", commit, "nbdtun", "twisted"], stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", tree], stdin=archive.stdout, check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    own = Path(sysconfig.get_path("purelib", "venv", {"base": f"{home}"}))
    (own / "older.pth").write_text(f"{tree}\n{sysconfig.get_path('purelib')}\n")
    for name, start in _COMMANDS.items():
        command = home / "bin" / name
        # twistd looks for packages where it is started, before anywhere else
        command.write_text(f"#!{home}/bin/python\nimport os, sys\nos.chdir({f'{tree}'!r})\n{start}\nsys.exit(main())\n")
        command.chmod(0o755)
    return home / "bin"
