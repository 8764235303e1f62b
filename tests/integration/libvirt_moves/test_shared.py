"""Disks that are not copied: one that both hosts share, as those of a storage network, and one that only seems to be such a one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import ticks
from lab.disks import MIB, Disk
from lab.libvirt import SPARE
from lab.libvirt_way import PATIENT, Way

SHARED = "<disk type='block'><driver name='qemu' cache='none'/><source dev='{}'/><target dev='vdx' bus='virtio'/><shareable/></disk>"


@pytest.fixture
def shared(directory: Path) -> Iterator[tuple[Path, str]]:
    """A file, and the block device that it is at both hosts."""
    file = directory / "shared"
    with file.open("wb") as made:
        made.truncate(16 * MIB)
    loop = subprocess.run(["losetup", "--find", "--show", file], check=True, capture_output=True, text=True).stdout.strip()
    yield file, loop
    subprocess.run(["losetup", "--detach", loop], check=True)


@pytest.mark.slow
def test_a_disk_that_both_hosts_share_stays_where_it_is(shared: tuple[Path, str], ways: Callable[..., Way]) -> None:
    """The guest goes on to write to it from the other host. The daemon admits it by its name."""
    file, device = shared
    way = ways(devices=SHARED.format(device))
    there = way.ends[1]
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 1
        assert f"{device} is in no storage pool there, and in no directory that nbdtun there admits" in attempt.log()
    way.daemons[there.name].kill()
    way.serve(there, "--admit", device)
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    assert [disk["node"] for disk in attempt.last["disks"]] == ["vda"]
    way.arrived(there)
    last = way.domain.ticks(there)
    assert list(ticks.lost(Disk(file, 16 * MIB).ticks(), last)) == []


@pytest.mark.slow
def test_one_of_a_local_file_system_is_refused_by_libvirt(ways: Callable[..., Way]) -> None:
    """The check has said so before."""
    way = ways()
    here, there = way.ends
    for host in way.hosts:
        (host.spare / "own.raw").write_bytes(bytes(MIB))
    here.virsh("attach-disk", "web1", f"{SPARE}/own.raw", "vdx", "--live", "--mode", "shareable")
    says = "disk vdx is not copied, and its file is on a file system of this host"
    with way.command(here, "check", "web1", "--libvirt", *way.to(there)) as check:
        assert check.wait_exit(PATIENT) == 0, check.log()
        assert says in check.log()
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 1
        assert says in attempt.log()
        assert "Unsafe migration" in attempt.log()
    way.stays(here)
