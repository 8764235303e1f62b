"""One libvirtd for each module, a pool for each test, and a migration that has been broken off."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lab import libvirt as lab
from lab.disks import MIB
from lab.libvirt import Host
from lab.process import wait
from nbdtun.libvirt.connection import asking
from nbdtun.libvirt.far import arrivals as far
from nbdtun.libvirt.far.arrival import Arrival
from tests.integration.libvirt_far.stage import (
    Scene,
    domain,
    file_of,
    fill,
    make,
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Path]]:
    if reason := lab.unable():
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("far")
    for above in (directory, *directory.parents[:2]):
        above.chmod(0o755)
    full = directory / "full"
    full.mkdir()
    with ExitStack() as stack:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "nbdtun", full], check=True)
        stack.callback(lambda: subprocess.run(["umount", full], check=True))
        yield stack.enter_context(Host(directory, "there")), directory


@pytest.fixture
def scene(host: tuple[Host, Path], directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    directory.chmod(0o755)
    monkeypatch.setattr(far, "BASE", f"{directory}/run")
    found = Scene(host[0], directory)
    yield found
    host[0].virsh("pool-destroy", "images")
    for name in host[0].virsh("list", "--name").split():
        host[0].virsh("destroy", name)
    assert found.pools() == []


@pytest.fixture
def incoming(scene: Scene) -> Iterator[Callable[[Arrival], None]]:
    """libvirt's own migration to the arrival's images, from a second host, which stops in the middle of the disk."""
    source = scene.directory / "source"
    with ExitStack() as stack:
        here = stack.enter_context(Host(scene.directory, "here"))
        source.mkdir()

        def start(arrival: Arrival) -> None:
            disk = fill(make(source / "a.raw", 8 * MIB))
            subprocess.run(["qemu-io", "-f", "raw", "-c", "write -P 7 0 8M", disk], check=True, capture_output=True)
            here.virsh("create", file_of(scene, domain(disk)))
            to = {"migrate_uri": f"unix:{arrival.memory}", "disks_uri": f"unix://{arrival.disks}", "bandwidth": 1}

            def run() -> None:
                with asking() as binding:
                    connection = binding.open(here.uri)
                    flags = binding.VIR_MIGRATE_LIVE | binding.VIR_MIGRATE_PEER2PEER | binding.VIR_MIGRATE_NON_SHARED_DISK
                    parameters = {**to, "destination_xml": arrival.wanted.xml}
                    with suppress(binding.libvirtError):
                        connection.lookupByName("web1").migrateToURI3(scene.host.uri, parameters, flags)

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            wait(lambda: "paused" in scene.host.virsh("list"), 30, "an incoming domain", here)
            wait(lambda: (scene.pool / "a.raw").stat().st_blocks > 0, 30, "some of its disk", here)

        yield start
