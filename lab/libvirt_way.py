"""The way over for a domain of libvirt's: two hosts, a daemon and a cable for each, and the runs of `nbdtun migrate --libvirt` on it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from lab.cable import Cable
from lab.cache import CACHE
from lab.crossing import Attempt
from lab.daemon import BIN, free_port, listening
from lab.disks import MIB, Disk, Format
from lab.domain import Domain
from lab.guest import Guest
from lab.libvirt import SPARE, Host, Inside
from lab.process import wait
from lab.sluice import Sluice

UNCHANGED = partial(Host, keepalive="")
"""Hosts with libvirt's own settings."""

PATIENT = 120
"""Seconds for a step of a migration on a machine that is busy."""


class Migrating(Inside, Attempt):
    """`nbdtun migrate` at a host."""

    def __init__(self, host: Host, log: Path, *arguments: str, env: Mapping[str, str] | None = None) -> None:
        self._output = log.with_suffix(".json")
        command: list[str | Path] = [BIN / "nbdtun", "migrate", *arguments, "--progress", "json"]
        super().__init__(host, command, log, env, output=self._output)


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
    sluices: dict[str, Sluice] = field(default_factory=dict)
    """What stands between a host's daemon and its libvirtd, if anything."""

    attempts: int = 0
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def serve(self, host: Host, *options: str, env: Mapping[str, str] | None = None) -> Inside:
        """Begin the daemon of a host."""
        port = self.ports.setdefault(host.name, free_port())
        words: list[str | Path] = ["--listen", f"tcp:{port}:interface=127.0.0.1", "--tls-dir", self.tls]
        sluice = self.sluices.get(host.name)
        uri = f"qemu:///{host.mode}" if sluice is None else f"qemu+unix:///{host.mode}?socket={sluice.path}"
        words += [f"--libvirt={uri}", "--admit", SPARE, "--admit", CACHE, *options]
        daemon = self.stack.enter_context(Inside(host, [BIN / "nbdtun", "dest", *words], self.directory / f"dest-{host.name}.log", env))
        wait(lambda: listening(port), PATIENT, f"the daemon of {host.name}", daemon)
        if host.name not in self.cables:
            self.cables[host.name] = self.stack.enter_context(Cable(self.directory, port))
        self.daemons[host.name] = daemon
        return daemon

    @property
    def ends(self) -> tuple[Host, Host]:
        """Where the domain is, and the other host."""
        return self.hosts if self.domain.name in self.hosts[0].virsh("list", "--name") else self.hosts[::-1]

    def migrate(self, *options: str, to: Sequence[str] = (), env: Mapping[str, str] | None = None, tidy: bool = True) -> Migrating:
        """`nbdtun migrate`, under way to the other host, which has nothing of the domain's if `tidy`; `to` leads to no daemon there."""
        here, there = self.ends
        if tidy and self.domain.name not in there.virsh("list", "--name"):  # or it is to be resolved
            for name in (*(disk.path.name for disk in self.domain.disks), self.domain.console):
                (there.spare / name).unlink(missing_ok=True)
        self.attempts += 1
        words = [self.domain.name, f"--libvirt=qemu:///{here.mode}", *(to or self.to(there)), "--resume-window", "60s", *options]
        log = self.directory / f"migrate-{self.domain.name}-{self.attempts}.log"
        return Migrating(here, log, *words, env=env)

    def to(self, there: Host) -> list[str]:
        """The options that lead to the daemon of a host."""
        return ["--to", f"127.0.0.1:{self.cables[there.name].port}", "--tls-dir", f"{self.tls}"]

    def command(self, host: Host, *words: str) -> Inside:
        """Another command of `nbdtun`, at a host."""
        return self.inside(host, f"{BIN}/nbdtun", *words)

    def inside(self, host: Host, *words: str) -> Inside:
        """Any command at a host."""
        self.commands.append(words)
        return Inside(host, words, self.directory / f"command-{len(self.commands)}.log")

    def beside(self, domain: Domain) -> Way:
        """The same way for another domain."""
        return replace(self, domain=domain, attempts=0)

    def left(self, host: Host) -> list[str]:
        """What is left of a migration at a host: its sockets, and an image."""
        run = host.path("/run/nbdtun")
        places = [*run.glob("libvirt/*"), *run.glob("nbdtun-*"), *([] if host.mode == "system" else host.path("/tmp").glob("?" * 32))]
        images = [host.spare / disk.path.name for disk in self.domain.disks]
        return [f"{each}" for each in (*places, *(image for image in images if image.exists()))]

    def arrived(self, there: Host, folder: Path = SPARE) -> None:
        """The guest ticks there, with its disks in a `folder`, and not one tick is lost."""
        here = next(host for host in self.hosts if host is not there)
        assert "running" in there.virsh("list")
        assert self.domain.name not in here.virsh("list", "--name")
        self.domain.wait_ticks(there, 3, PATIENT)
        assert list(self.domain.faults(here, there, folder)) == []

    def stays(self, here: Host) -> None:
        """The guest ticks on here, and the other host has nothing."""
        there = next(host for host in self.hosts if host is not here)
        assert there.virsh("list", "--all", "--name") == ""
        assert self.left(there) == []
        assert [each for each in self.left(here) if "/run/" in each] == []
        self.domain.wait_ticks(here, 3, PATIENT)


@contextmanager
def two_hosts(
    directory: Path,
    tls: Path,
    guest: Guest,
    bridge: str,
    *formats: Format,
    persistent: bool = False,
    sluices: bool = False,
    host: Callable[[Path, str], Host] = UNCHANGED,
    **more: Any,
) -> Iterator[Way]:
    """
    Make them: the guest ticks at the first.

    It has a disk of each of the `formats`, `raw` if there are none. `host` makes a host; `sluices` stand before their libvirtds.
    `more` is the domain's.
    """
    directory.chmod(0o755)
    with ExitStack() as stack:
        hosts = stack.enter_context(host(directory, "here")), stack.enter_context(host(directory, "there"))
        user = hosts[0].user
        if user != "root":
            guest, tls = _lent(guest, hosts), _given(tls, directory, user)
        disks = tuple(made(hosts[0], f"vd{letter}", fmt) for letter, fmt in zip("abc", formats or ("raw",), strict=False))
        domain = Domain(guest, disks, bridge=bridge if hosts[0].mode == "system" else "", **more)
        domain.start(hosts[0], persistent=persistent)
        way = Way(directory, tls, domain, hosts, stack)
        for each in hosts:
            if sluices:
                way.sluices[each.name] = stack.enter_context(Sluice(directory / f"sluice-{each.name}", each.socket))
            way.serve(each)
        domain.wait_ticks(hosts[0], 3, PATIENT)
        yield way


def made(host: Host, name: str, fmt: Format = "raw") -> Disk:
    """A disk at a host, with data."""
    disk = Disk(host.spare / f"{name}.{fmt}", 64 * MIB, fmt).make()
    shutil.chown(disk.path, host.user)
    return disk


def _lent(guest: Guest, hosts: Iterable[Host]) -> Guest:
    """The guest in directories of the hosts: libvirt gives its kernel to QEMU's user, who cannot reach ours."""
    for host in hosts:
        for file in (guest.kernel, guest.initramfs):
            shutil.copy(file, host.spare)
    return replace(guest, kernel=SPARE / guest.kernel.name, initramfs=SPARE / guest.initramfs.name)


def _given(tls: Path, directory: Path, user: str) -> Path:
    """Certificates that a user can read."""
    copied = shutil.copytree(tls, directory / "tls")
    for path in (copied, *copied.iterdir()):
        shutil.chown(path, user)
    return copied
