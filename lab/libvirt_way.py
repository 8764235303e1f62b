"""The way over for a domain of libvirt's: two hosts, a daemon and a cable for each, and the runs of `nbdtun migrate --libvirt` on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.cable import Cable
from lab.cache import CACHE
from lab.crossing import Attempt
from lab.daemon import BIN, free_port, listening
from lab.disks import MIB, Disk, Format
from lab.guest import Guest
from lab.libvirt import SPARE, Domain, Host, Inside
from lab.process import wait
from lab.sshd import Sshd

PATIENT = 120
"""Seconds for a step of a migration on a machine that is busy."""


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


@contextmanager
def two_hosts(directory: Path, tls: Path, guest: Guest, bridge: str, fmt: Format = "raw", *, persistent: bool = False) -> Iterator[Way]:
    """Make them: the guest ticks at the first."""
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
