"""What cannot be had at the other host is told by `plan`, `check` and `migrate` alike, in one line, and nothing is left at either end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.daemon import BIN
from lab.qemu import Build
from lab.qmp import Qmp
from lab.sshd import SSHD
from tests.integration.host import files
from tests.integration.lines import LINES
from tests.integration.two_hosts import Hosts, two_hosts

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")]


@pytest.fixture
def hosts(directory: Path, native_qemu: Build) -> Iterator[Hosts]:
    yield from two_hosts(directory, native_qemu)


@pytest.fixture
def newer(directory: Path, recent_qemu: Build) -> Iterator[Hosts]:
    """A source whose QEMU is of a later release than that of the other host."""
    yield from two_hosts(directory, recent_qemu)


def refused(hosts: Hosts, told: str, *more: str, before: int = 1) -> None:
    """
    All three commands tell the same; the guest stays, and nothing is left. ``before`` is the number of lines before the error, the first
    of which has the way.
    """
    here, there = files(hosts.here), files(hosts.there)
    for command in ("plan", "check"):
        done = hosts.run(command, *more)
        assert done.returncode == 1, done.stdout + done.stderr
        assert told in done.stdout, done.stdout + done.stderr
    done = hosts.migrate(*more)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (1, before + 1), done.stderr
    assert told in lines[-1], done.stderr
    assert Qmp(hosts.here / "lab.qmp")("query-status")["status"] == "running"
    assert (files(hosts.here), files(hosts.there)) == (here, there)
    assert hosts.leftovers() == []


def test_no_qemu(hosts: Hosts) -> None:
    hosts.start(LINES["drive"])
    refused(hosts, "/none/qemu-none is not there; install QEMU there, or name its program", "--set", "emulator=/none/qemu-none")


@pytest.mark.parametrize("more", [[], ["--overwrite"]], ids=["", "overwrite"])
def test_the_same_file(hosts: Hosts, more: list[str]) -> None:
    """As it is where both hosts have the same directory mounted: there it has another path."""
    (hosts.here / "link").symlink_to(hosts.here)
    hosts.start(LINES["drive"])
    where = f"virtio0={hosts.here}/link/a.qcow2"
    refused(hosts, "a.qcow2 is the source's own image: both hosts see the same file", "--disk", where, *more)


def test_another_cpu_and_another_machine(newer: Hosts) -> None:
    """All that is lacking is told at once."""
    newer.start(f"{LINES['drive']} -cpu GraniteRapids")
    older = ["--set", "emulator=/usr/bin/qemu-system-x86_64"]
    refused(newer, "has no CPU model GraniteRapids", *older)
    refused(newer, "has no machine pc-q35-", *older)


@pytest.fixture
def tap() -> Iterator[str]:
    name = f"nt{os.getpid() % 10**7}"
    subprocess.run(["ip", "tuntap", "add", name, "mode", "tap"], check=True)
    yield name
    subprocess.run(["ip", "link", "delete", name], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="a tap takes root")
def test_an_unknown_tap(hosts: Hosts, tap: str) -> None:
    hosts.start(f"{LINES['drive']} -netdev tap,id=net0,ifname={tap},script=no,downscript=no -device virtio-net-pci,netdev=net0")
    told = "-netdev net0: there is no tap none7; make it: ip tuntap add none7 mode tap; or use --set netdev.net0.ifname=NAME"
    refused(hosts, told, "--set", "netdev.net0.ifname=none7")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user takes root")
def test_a_far_user_without_rights(hosts: Hosts) -> None:
    """The remedy is in the line."""
    hosts.start(LINES["drive"])
    ssh, nobody = hosts.sshd.directory, "setpriv --reuid=65534 --regid=65534 --clear-groups"
    hosts.sshd.script("far", "nbdtun", f'exec {nobody} {BIN}/nbdtun "$@" --run-dir {ssh}/nobody')
    (ssh / "nobody").mkdir()
    os.chown(ssh / "nobody", 65534, 65534)
    for directory in (ssh, *ssh.parents):
        directory.chmod(directory.stat().st_mode | 0o111)
    refused(hosts, "nobody may not make files there; use --map, or run the far end as root: by ssh, with --remote-command 'sudo nbdtun'")
