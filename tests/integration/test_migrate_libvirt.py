"""`nbdtun migrate --libvirt`: two real libvirtds with their own settings, nothing prepared at the destination, and a ticking guest."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab import libvirt
from lab.cable import Cable
from lab.cache import CACHE
from lab.crossing import Attempt
from lab.daemon import BIN, free_port, listening
from lab.disks import MIB, Disk, Format
from lab.guest import Guest
from lab.libvirt import SPARE, Domain, Host, Inside
from lab.process import wait
from lab.sshd import Sshd

SLOW = 3 * MIB
"""Bytes a second through the cable, where something is to happen meanwhile."""
PATIENT = 120
MUTE = Path(__file__).parent / "mute"


class Migrating(Inside, Attempt):
    """`nbdtun migrate` at a host."""

    def __init__(self, host: Host, directory: Path, *arguments: str, number: int, env: Mapping[str, str] | None = None) -> None:
        self._output = directory / f"migrate-{number}.json"
        command: list[str | Path] = [BIN / "nbdtun", "migrate", *arguments, "--progress", "json"]
        super().__init__(host, command, directory / f"migrate-{number}.log", env, output=self._output)


@dataclass
class Way:
    """Two hosts of libvirt, each with a destination's daemon behind a cable of its own; the domain is at one of them."""

    directory: Path
    tls: Path
    domain: Domain
    hosts: tuple[Host, Host]
    stack: ExitStack
    cables: dict[str, Cable] = field(default_factory=dict)
    daemons: dict[str, Inside] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    attempts: int = 0

    def serve(self, host: Host, env: Mapping[str, str] | None = None) -> Inside:
        """Begin the daemon of a host."""
        port = self.ports.setdefault(host.name, free_port())
        words: list[str | Path] = ["--listen", f"tcp:{port}:interface=127.0.0.1", "--tls-dir", self.tls]
        words += ["--libvirt", "--admit", SPARE, "--admit", CACHE]
        daemon = self.stack.enter_context(Inside(host, [BIN / "nbdtun", "dest", *words], self.directory / f"dest-{host.name}.log", env))
        wait(lambda: listening(port), PATIENT, f"the daemon of {host.name}", daemon)
        if host.name not in self.cables:
            self.cables[host.name] = self.stack.enter_context(Cable(self.directory, port))
        self.daemons[host.name] = daemon
        return daemon

    @property
    def ends(self) -> tuple[Host, Host]:
        """Where the domain is, and the other host, which has nothing of it."""
        here, there = self.hosts if self.domain.name in self.hosts[0].virsh("list", "--name") else self.hosts[::-1]
        if self.domain.name in there.virsh("list", "--name"):  # it is to be resolved
            return here, there
        (there.spare / self.domain.disk.path.name).unlink(missing_ok=True)
        (there.spare / "console").unlink(missing_ok=True)
        return here, there

    def migrate(self, *options: str, sshd: Sshd | None = None) -> Migrating:
        """`nbdtun migrate`, under way to the other host."""
        here, there = self.ends
        self.attempts += 1
        to = ["--to", f"127.0.0.1:{self.cables[there.name].port}", "--tls-dir", f"{self.tls}"] if sshd is None else ["--to", sshd.to]
        words = [self.domain.name, "--libvirt", *to, "--resume-window", "60s", *options]
        return Migrating(here, self.directory, *words, number=self.attempts, env=None if sshd is None else sshd.environment)

    def left(self, host: Host) -> list[str]:
        """What is left of a migration at a host: its sockets, and an image."""
        places = [*host.path("/run/nbdtun").glob("libvirt/*"), *host.path("/run/nbdtun").glob("nbdtun-*")]
        image = host.spare / self.domain.disk.path.name
        return [f"{each}" for each in (*places, *([image] if image.exists() else []))]

    def arrived(self, there: Host) -> None:
        """The guest ticks there, and not one tick is lost."""
        here = next(host for host in self.hosts if host is not there)
        assert "running" in there.virsh("list")
        assert self.domain.name not in here.virsh("list", "--name")
        self.domain.wait_ticks(there, 3, PATIENT)
        assert list(self.domain.faults(here, there)) == []

    def stays(self, here: Host) -> None:
        """The guest ticks on here, and the other host has nothing."""
        there = next(host for host in self.hosts if host is not here)
        assert there.virsh("list", "--all", "--name") == ""
        assert self.left(there) == []
        assert [each for each in self.left(here) if "/run/" in each] == []
        self.domain.wait_ticks(here, 3, PATIENT)


@pytest.fixture(scope="module", autouse=True)
def _libvirt() -> None:
    if reason := libvirt.unable():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def bridge() -> Iterator[str]:
    """A bridge, which both hosts have, since they share the network."""
    name = f"nbt{os.getpid()}"[:15]
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    yield name
    subprocess.run(["ip", "link", "del", name], check=True)


@contextmanager
def two_hosts(directory: Path, tls: Path, guest: Guest, bridge: str, fmt: Format = "raw", *, persistent: bool = False) -> Iterator[Way]:
    directory.chmod(0o755)
    with ExitStack() as stack:
        hosts = Host(directory, "here", keepalive=""), Host(directory, "there", keepalive="")
        for host in hosts:
            stack.enter_context(host)
        disk = Disk(hosts[0].spare / f"vda.{fmt}", 64 * MIB, fmt).make()
        domain = Domain(guest, disk, bridge=bridge)
        domain.start(hosts[0], persistent=persistent)
        way = Way(directory, tls, domain, hosts, stack)
        for host in hosts:
            way.serve(host)
        domain.wait_ticks(hosts[0], 3, PATIENT)
        yield way


@pytest.fixture
def ways(directory: Path, tls: Path, guest: Guest, bridge: str) -> Iterator[Callable[..., Way]]:
    with ExitStack() as stack:
        yield lambda *options, **named: stack.enter_context(two_hosts(directory, tls, guest, bridge, *options, **named))


def test_what_prevents_it_is_said_before_anything(ways: Callable[..., Way], bridge: str) -> None:
    """Then it is cancelled, then it moves while the cable is pulled; each leaves nothing behind."""
    way = ways()
    here, there = way.ends
    with way.migrate("--map", f"{bridge}=nobridge0") as attempt:
        assert attempt.wait_exit(PATIENT) == 1
        assert "nobridge0" in attempt.log()
        assert attempt.phases() == ["prepare", "rollback", "failed"]
    way.stays(here)
    way.cables[there.name].slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        attempt.signal(signal.SIGINT)
        assert attempt.wait_exit(PATIENT) == 130
    way.stays(here)
    way.cables[there.name].slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        way.cables[there.name].pull(5)
        way.cables[there.name].slow(100 * MIB)
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
        assert attempt.phases() == ["prepare", "mirror", "ram", "finish", "completed"]
        assert attempt.last["link"]["outages"] == 1
    way.arrived(there)
    assert [each for each in way.left(there) if "/run/" in each] == []


def test_a_persistent_domain_leaves_its_definition(ways: Callable[..., Way]) -> None:
    way = ways("qcow2", persistent=True)
    here, there = way.ends
    here.virsh("autostart", way.domain.name)
    with way.migrate("--keep-source", "--converge", "write-blocking", "--parallel", "2") as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)
    assert "shut off" in here.virsh("list", "--all")
    assert way.domain.name in there.virsh("list", "--persistent", "--autostart", "--name")
    assert attempt.last["downtime_ms"] > 0


@pytest.mark.slow
def test_ssh_starts_the_destination(ways: Callable[..., Way]) -> None:
    """Through one port that it chooses, with certificates of its own; and no daemon runs there."""
    way = ways()
    there = way.ends[1]
    with Sshd(way.directory, host=there) as sshd, way.migrate(sshd=sshd) as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)


@pytest.mark.slow
def test_there_and_back_again(ways: Callable[..., Way]) -> None:
    way = ways("qcow2", persistent=True)
    here, there = way.ends
    for end in (there, here):
        with way.migrate() as attempt:
            assert attempt.wait_exit(PATIENT) == 0, attempt.log()
        way.arrived(end)
        assert way.domain.name in end.virsh("list", "--persistent", "--name")
    assert there.virsh("list", "--all", "--name") == ""


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["mirror", "ram"])
def test_a_cut_of_45_seconds_needs_no_settings(ways: Callable[..., Way], phase: str) -> None:
    """libvirt by itself gives up after 30 s."""
    way = ways()
    there = way.ends[1]
    way.cables[there.name].slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_phase(phase, PATIENT)
        way.cables[there.name].wait_bytes(4 * MIB, PATIENT)
        way.cables[there.name].pull(45)
        way.cables[there.name].slow(100 * MIB)
        assert attempt.wait_exit(2 * PATIENT) == 0, attempt.log()
    way.arrived(there)


@pytest.mark.slow
@pytest.mark.parametrize("again", [True, False], ids=["restarted", "gone"])
def test_the_daemon_dies_when_the_guest_has_just_begun_to_run_there(ways: Callable[..., Way], again: bool) -> None:
    """libvirt alone would let it run on at the source, too. A daemon that is restarted knows; without one, it is asked later."""
    way = ways()
    here, there = way.ends
    way.daemons[there.name].kill()
    way.serve(there, {"PYTHONPATH": f"{MUTE}"})
    with way.migrate("--resume-window", "10s") as attempt:
        wait(lambda: "running" in there.virsh("list"), PATIENT, "the guest's run there", attempt)
        way.daemons[there.name].kill()
        assert "paused" in here.virsh("list")
        if again:
            way.serve(there)
        assert attempt.wait_exit(2 * PATIENT) == (0 if again else 3), attempt.log()
    if not again:
        assert "paused" in here.virsh("list")
        way.serve(there)
        with way.migrate("--resolve") as attempt:
            assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)


@pytest.mark.slow
def test_the_daemon_dies_and_a_second_try_finds_nothing_in_its_way(ways: Callable[..., Way]) -> None:
    way = ways()
    here, there = way.ends
    way.cables[there.name].slow(SLOW)
    with way.migrate("--resume-window", "5s") as attempt:
        attempt.wait_copied(4 * MIB, PATIENT)
        way.daemons[there.name].kill()
        assert attempt.wait_exit(2 * PATIENT) == 1  # it asks for a minute what became of it
    way.domain.wait_ticks(here, 3, PATIENT)
    way.serve(there)
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)


@pytest.mark.slow
def test_sigterm_and_a_command_that_cancels(ways: Callable[..., Way]) -> None:
    way = ways()
    here, there = way.ends
    way.cables[there.name].slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_phase("ram", PATIENT)
        attempt.signal(signal.SIGTERM)
        assert attempt.wait_exit(PATIENT) == 130
    way.stays(here)
    way.cables[there.name].slow(SLOW)
    with way.migrate() as attempt:
        attempt.wait_phase("mirror", PATIENT)
        for words, told in ((["status"], "copying disks"), (["set", "web1", "--downtime", "1s"], "web1"), (["cancel", "web1"], "web1")):
            with Inside(here, [BIN / "nbdtun", *words], way.directory / "other.log") as command:
                assert command.wait_exit(PATIENT) == 0, command.log()
                assert told in command.log()
        assert attempt.wait_exit(PATIENT) == 130
    way.stays(here)
