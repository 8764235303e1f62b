"""A host that has ssh, QEMU and Python, and no nbdtun: it is brought there, in one file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.sshd import SSHD, SSHCrossing
from nbdtun.reach.pushing.executable import find

needs_sshd = pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")


@pytest.fixture(scope="module")
def executable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The single-file executable of what runs here."""
    place = tmp_path_factory.mktemp("executable")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", f"{place}")
        (place / "nbdtun.pyz").write_bytes(find().content)
    return place / "nbdtun.pyz"


@pytest.fixture
def bare(executable: Path) -> Iterator[Callable[[Pair], SSHCrossing]]:
    """Makes a way by ssh to a host without nbdtun, from one where the executable was made before."""
    with ExitStack() as ended:

        def crossing(pair: Pair) -> SSHCrossing:
            made = ended.enter_context(SSHCrossing(pair))
            (made.sshd.directory / "far/nbdtun").unlink()
            shutil.copytree(executable.parent / "nbdtun", made.sshd.directory / "near/nbdtun", ignore=shutil.ignore_patterns("*-3.*[0-9]"))
            return made

        yield crossing


def run(executable: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"XDG_CACHE_HOME": f"{executable.parent}", "PATH": os.environ["PATH"]}
    return subprocess.run([sys.executable, "-I", executable, *words], capture_output=True, text=True, env=environment, cwd="/")


def test_one_file_is_the_whole_command(executable: Path) -> None:
    assert run(executable, "--version").stdout.startswith("nbdtun ")
    for command in ("source", "receive", "migrate"):
        assert f"Usage: nbdtun {command}" in run(executable, command, "--help").stdout
    refused = run(executable, "dest", "--listen", "99999")  # Twisted and its plugins have been loaded for that
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "there is no port 99999" in refused.stderr


def test_its_plugins_are_found(executable: Path) -> None:
    run(executable, "--version")
    (there,) = (path for path in (executable.parent / "nbdtun").iterdir() if path.is_dir())
    program = (
        f"import sys; sys.path.insert(0, {f'{there}'!r})\n"
        "from twisted.plugin import getPlugins\n"
        "from twisted.application.service import IServiceMaker\n"
        "print(sorted(each.tapname for each in getPlugins(IServiceMaker)))\n"
    )
    told = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    assert "'nbdtun-dest', 'nbdtun-source'" in told.stdout, told.stderr


@needs_sshd
def test_a_host_that_has_no_nbdtun(pairs: Callable[..., Pair], bare: Callable[[Pair], SSHCrossing]) -> None:
    pair = pairs(Plan(32 * MIB), paused=True)
    crossing = bare(pair)
    attempt = crossing.migrate()
    assert attempt.wait_exit(300) == 0, attempt.log()
    copied, way = attempt.complaints()
    assert copied == "nbdtun: web1: ssh://dest has no compatible nbdtun; copying this one there"
    assert way.startswith("nbdtun: web1: to ssh://dest over ")
    pair.source.wait_exit()
    assert pair.destination.status() == "prelaunch"  # as it was at the source
    assert crossing.leftovers() == []


@needs_sshd
def test_a_host_where_it_has_no_place(pairs: Callable[..., Pair], bare: Callable[[Pair], SSHCrossing]) -> None:
    crossing = bare(pairs(Plan(4 * MIB), paused=True))
    (crossing.sshd.directory / "cache").write_text("a file")
    attempt = crossing.migrate()
    assert attempt.wait_exit(300) == 1
    assert "ssh://dest: nbdtun cannot be copied there: " in attempt.complaints()[-1]
    assert len(attempt.complaints()) == 2
