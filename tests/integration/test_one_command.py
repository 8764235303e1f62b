"""One command, and nothing at the far end but ssh, QEMU and nbdtun: the destination is made from the source."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.daemon import BIN
from lab.process import marked, wait
from lab.qemu import Build
from lab.qmp import Qmp
from lab.sshd import SSHD, Sshd
from tests.integration.test_spawn import LINES, Host, files

pytestmark = pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")


class Hosts(Host):
    """The source's host, and the other one behind sshd."""

    def __init__(self, directory: Path, build: Build) -> None:
        super().__init__(directory, build)
        self.sshd = self.ended.enter_context(Sshd(directory))

    def run(self, command: str, *more: str) -> subprocess.CompletedProcess[str]:
        words = [
            f"{BIN}/nbdtun",
            command,
            "web1",
            "--qmp",
            f"{self.qmp}",
            "--to",
            self.sshd.to,
            "--map",
            f"{self.here}={self.there}",
            *more,
        ]
        env = {**os.environ, **self.sshd.environment}
        return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, env=env)

    def migrate(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self.run("migrate", "--run-dir", f"{self.here.parent}/run", "--settle", "200ms", "--progress", "none", *more)


@pytest.fixture
def hosts(directory: Path, native_qemu: Build) -> Iterator[Hosts]:
    one = Hosts(directory, native_qemu)
    one.images()
    with one.ended:
        yield one
        wait(lambda: not any("--over-ssh" in command for command in marked().values()), 10, "the end of the far end")


def test_a_vm_moves_by_one_command(hosts: Hosts) -> None:
    source = hosts.start(LINES["drive"])
    told = json.loads(hosts.run("plan", "--json").stdout)
    assert (told["fit"], told["directories"]) == (True, [f"{hosts.there}"])
    done = hosts.migrate()
    assert done.returncode == 0, done.stderr
    source.wait_exit(20)
    qmp = Qmp(hosts.there / "lab.qmp")
    assert qmp("query-status")["status"] == "running"
    qmp("quit")
    wait(lambda: not (hosts.there / "qemu.pid").exists(), 10, "the destination's end")
    subprocess.run(["qemu-img", "compare", hosts.here / "a.qcow2", hosts.there / "a.qcow2"], check=True, capture_output=True)


def test_what_is_lacking_is_one_line_and_nothing_is_left(hosts: Hosts) -> None:
    hosts.start(LINES["luns"])
    before = files(hosts.here)
    checked = hosts.run("check")
    assert "failure  place                -drive cd:" in checked.stdout, checked.stdout
    done = hosts.migrate()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2  # the way, and the error
    assert f"-drive cd: {hosts.there}/cd.iso is not there" in done.stderr
    assert not hosts.there.exists()
    assert [name for name in files(hosts.here) if name not in before] == []


@pytest.mark.slow
def test_a_migration_that_fails_leaves_nothing_there_and_a_second_try_works(hosts: Hosts) -> None:
    source = hosts.start(LINES["drive"])
    done = hosts.migrate("--bandwidth", "100KiB", "--timeout", "2s")
    assert done.returncode == 1, done.stderr
    assert not hosts.there.exists()
    assert Qmp(hosts.here / "lab.qmp")("query-status")["status"] == "running"
    done = hosts.migrate()
    assert done.returncode == 0, done.stderr
    source.wait_exit(20)
    Qmp(hosts.there / "lab.qmp")("quit")
    wait(lambda: not (hosts.there / "qemu.pid").exists(), 10, "the destination's end")
