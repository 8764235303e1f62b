"""libvirt's own migration through the plain tunnel: three sockets a host, and a cable that is pulled while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import libvirt
from lab.cable import Cable
from lab.daemon import Daemon, Twistd, free_port
from lab.disks import MIB, Disk
from lab.domain import Domain
from lab.guest import Guest
from lab.libvirt import SPARE, Host
from lab.process import Process
from lab.programs import Programs

SOCKETS = ("libvirt", "ram", "nbd")
SLOW = 20 * MIB


@dataclass
class Way:
    """Two hosts of libvirt with the tunnel between them, and a domain that runs at the first."""

    here: Host
    there: Host
    domain: Domain
    cable: Cable
    source: Twistd
    directory: Path

    def migrate(self, *options: str) -> Process:
        """`virsh migrate`, as the documentation has it, under way."""
        uris = ["--migrateuri", f"unix://{SPARE}/qemu/ram.sock", "--disks-uri", f"unix://{SPARE}/qemu/nbd.sock"]
        to = f"qemu+unix:///system?socket={(SPARE if '--p2p' in options else self.here.spare) / 'libvirt.sock'}"
        command = ["virsh", "-c", self.here.uri, "migrate", "--live", "--copy-storage-all", *options, *uris, self.domain.name, to]
        return Process(command, self.directory / "virsh.log")

    def open(self, target: str) -> None:
        """Wait until some of what goes to a target has passed."""
        self.source.wait_log(f"channel {target} ", 60)
        self.cable.wait_bytes(8 * MIB)


@pytest.fixture(scope="module", autouse=True)
def _libvirt() -> None:
    if reason := libvirt.unable():
        pytest.skip(reason)


@pytest.fixture
def way(directory: Path, guest: Guest, request: pytest.FixtureRequest) -> Iterator[Way]:
    """Its daemons are twistd's, or of the kind that a test asks for."""
    kind: type[Twistd] = getattr(request, "param", Twistd)
    directory.chmod(0o755)
    with ExitStack() as stack:
        here, there = (stack.enter_context(Host(directory, name)) for name in ("here", "there"))
        disk = Disk(here.spare / "vda.raw", 64 * MIB).make()
        disk.twin(there.spare / "vda.raw").make_empty()
        domain = Domain(guest, (disk,))
        domain.start(here)
        domain.wait_ticks(here, 5)
        port, run_dir = free_port(), ("--run-dir", f"{directory / 'run'}")
        targets = [there.socket, there.spare / "qemu/ram.sock", there.spare / "qemu/nbd.sock"]
        to = [word for name, path in zip(SOCKETS, targets, strict=True) for word in ("--target", f"{name}=unix:{path}")]
        daemon = stack.enter_context(kind(directory, "nbdtun-dest", "--listen", f"tcp:{port}:interface=127.0.0.1", *to, *run_dir))
        daemon.wait_port(port)
        cable = stack.enter_context(Cable(directory, port))
        sockets = [here.spare / "libvirt.sock", here.spare / "qemu/ram.sock", here.spare / "qemu/nbd.sock"]
        entrances = [word for name, path in zip(SOCKETS, sockets, strict=True) for word in ("--forward", f"{name}=unix:{path}")]
        source = stack.enter_context(
            kind(directory, "nbdtun-source", "--connect", f"tcp:127.0.0.1:{cable.port}", "--urgent", "ram", *entrances, *run_dir)
        )
        source.wait_socket(sockets[-1])
        cable.slow(SLOW)
        yield Way(here, there, domain, cable, source, directory)


PARALLEL = ["--parallel", "--parallel-connections", "2"]


@pytest.mark.parametrize("options", [pytest.param(["--p2p"], id="p2p"), pytest.param(PARALLEL, id="parallel", marks=pytest.mark.slow)])
def test_a_domain_moves_while_the_cable_is_pulled(way: Way, options: list[str]) -> None:
    with way.migrate(*options) as migration:
        for target in ("nbd", "ram"):
            way.open(target)
            way.cable.pull(2)
        assert migration.wait_exit(120) == 0, migration.log()
    assert way.source.log().count("link back") >= 4  # two channels at the first pull, three and more at the second
    assert way.here.virsh("list", "--all") == ""
    assert "running" in way.there.virsh("list")
    way.domain.wait_ticks(way.there, 5)
    assert list(way.domain.faults(way.here, way.there)) == []


@pytest.mark.slow
@pytest.mark.parametrize("way", [Daemon], indirect=True)
def test_a_domain_moves_while_both_daemons_programs_are_replaced(way: Way) -> None:
    """Twice each: while its disk is copied, and while its memory is sent. Each time the cable is pulled behind it."""
    both = [Programs(way.directory / "run", kind) for kind in ("nbdtun-source", "nbdtun-dest")]
    way.cable.slow(MIB)
    try:
        with way.migrate("--p2p") as migration:
            for target in ("nbd", "ram"):
                way.source.wait_log(f"channel {target} ", 120)
                way.cable.wait_bytes(2 * MIB)
                for each in both:
                    each.replace()
                way.cable.pull(2)
            way.cable.slow(100 * MIB)
            assert migration.wait_exit(120) == 0, migration.log()
        assert way.source.log().count("link back") >= 4
        assert "running" in way.there.virsh("list")
        way.domain.wait_ticks(way.there, 5)
        assert list(way.domain.faults(way.here, way.there)) == []
        for each in both:
            each.end()
    finally:
        for each in both:
            each.kill()


def test_the_source_daemon_dies(way: Way) -> None:
    """Without the channel libvirt gives up, and the guest does not notice."""
    with way.migrate("--p2p") as migration:
        way.open("nbd")
        way.source.kill()
        assert migration.wait_exit(60) != 0
    way.domain.wait_ticks(way.here, 5)
    assert "paused" in way.there.virsh("list")
    way.there.virsh("destroy", way.domain.name)
    assert "running" in way.here.virsh("list")
