"""The pages that somebody follows by hand: their commands are run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from lab import hosts
from lab.daemon import BIN
from lab.guest import Guest
from lab.process import Process
from lab.sshd import SSHD, Sshd

ROOT = Path(__file__).parent.parent.parent


def _commands(page: str) -> str:
    """All that a page marks as shell; examples with a prompt are for other hosts, and are not run."""
    text = (ROOT / "docs" / page).read_text()
    blocks = re.findall(r"^\.\. code-block:: sh\n\n((?:   .*\n|\n)+)", text, re.MULTILINE)
    return "\n".join(textwrap.dedent(block) for block in blocks)


@pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")
@pytest.mark.parametrize(("page", "said"), [("tutorial.rst", "web1: runs at the destination"), ("tunnel.rst", "\nidentical\n")])
def test_commands(directory: Path, guest: Guest, page: str, said: str) -> None:
    script = directory / "commands.sh"
    script.write_text(f"set -eu\ncd {ROOT}\n{_commands(page)}\necho followed to the end\n")
    with Sshd(directory) as sshd:
        env = {**sshd.environment, "PYTHONPATH": f"{ROOT}"}
        env["PATH"] = f"{BIN}:{env['PATH']}"
        with Process(["bash", script], directory / "commands.log", env) as following:
            assert following.wait_exit(240) == 0, following.log()
            assert said in following.log()
            assert following.log().endswith("followed to the end\n")


@pytest.mark.slow
def test_the_demo() -> None:
    """What `make demo` runs: one command between two hosts, where there can be such; its cable is pulled."""
    done = subprocess.run([sys.executable, "-m", "lab.demo"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every reported tick and every other block is on the destination's disk" in done.stdout
    if not hosts.unable():
        assert "$ nbdtun migrate web1 --qmp /run/qemu/web1.qmp --to ssh://dest\n" in done.stdout
