"""Command lines as people write them: each is moved by one command over a real ssh, and comes back by the same one from the other side."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.process import wait
from lab.qmp import Qmp
from lab.sshd import SSHD
from nbdtun.reach.pushing.executable import find
from tests.integration.lines import LINES
from tests.integration.two_hosts import Hosts, two_hosts

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")]

GIVEN = ("cd.iso", "code.fd")
"""What is only read must be at both hosts."""


@pytest.fixture(params=["native_qemu", "recent_qemu"])
def hosts(request: pytest.FixtureRequest, directory: Path) -> Iterator[Hosts]:
    yield from two_hosts(directory, request.getfixturevalue(request.param))


def ended(directory: Path) -> None:
    """A QEMU ends, and takes its pidfile with it."""
    wait(lambda: not (directory / "qemu.pid").exists(), 20, f"the end of the QEMU in {directory.name}")


@pytest.mark.parametrize("name", LINES)
def test_there_and_back(hosts: Hosts, name: str) -> None:
    for given in GIVEN:
        if given in LINES[name]:
            hosts.there.mkdir(exist_ok=True)
            shutil.copy(hosts.here / given, hosts.there / given)
    hosts.start(LINES[name])
    done = hosts.migrate()
    if name == "iothreads" and hosts.build.version < (8, 0):  # refused by its name
        assert (done.returncode, "would end as soon as the copy of a disk with an iothread has arrived" in done.stderr) == (1, True)
        return
    assert done.returncode == 0, done.stderr
    ended(hosts.here)
    hosts.here, hosts.there = hosts.there, hosts.here
    hosts.qmp = hosts.here / "vm.qmp"
    done = hosts.migrate("--overwrite")  # the images that it has left
    assert done.returncode == 0, done.stderr
    ended(hosts.here)
    qmp = Qmp(hosts.there / "lab.qmp")
    assert qmp("query-status")["status"] == "running"
    qmp("quit")
    ended(hosts.there)
    for path in hosts.here.glob("*.qcow2"):
        subprocess.run(["qemu-img", "compare", path, hosts.there / path.name], check=True, capture_output=True)
    assert hosts.leftovers() == []


def test_nothing_is_there_but_ssh_qemu_and_python(hosts: Hosts) -> None:
    """Not even nbdtun, and nothing was pushed before."""
    (hosts.sshd.directory / "far/nbdtun").unlink()
    hosts.start(LINES["drive"])
    with pytest.MonkeyPatch.context() as patch:  # where this host keeps what it pushes
        patch.setenv("XDG_CACHE_HOME", f"{hosts.sshd.directory}/near")
        find()
    attempt = hosts.begin()
    assert attempt.wait_exit(300) == 0, attempt.log()
    copied, way, made, *_ = attempt.log().splitlines()
    assert copied == "nbdtun: web1: ssh://dest has no compatible nbdtun; copying this one there"
    assert way.startswith("nbdtun: web1: to ssh://dest over ")
    assert made.startswith("nbdtun: web1: made its destination, ")
    ended(hosts.here)
    Qmp(hosts.there / "lab.qmp")("quit")
    ended(hosts.there)
