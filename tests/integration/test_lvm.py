"""A storage pool of LVM's, in a machine whose kernel has a device mapper."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab import machine

DRIVERS = [
    *Path("/usr/lib").glob("*/libvirt/connection-driver/libvirt_driver_storage.so"),
    *Path("/usr/lib").glob("*/libvirt/storage-*/*.so"),
]
PROGRAMS = [shutil.which(name, path="/usr/sbin:/sbin:/usr/bin") for name in ("libvirtd", "lvm", "qemu-img")]
COMMANDS = "vgs vgchange vgscan pvs lvs lvcreate lvremove lvchange"


@pytest.mark.slow
@pytest.mark.skipif(not any("logical" in path.name for path in DRIVERS), reason="libvirt's driver for LVM is not installed")
@pytest.mark.skipif(not all(PROGRAMS), reason="libvirt or lvm2 is not installed")
def test_a_logical_volume_is_made_and_removed(directory: Path) -> None:
    programs = [Path(program).resolve() for program in PROGRAMS if program]
    links = f"mkdir -p /usr/sbin /sbin && for name in {COMMANDS}; do ln -sf {programs[1]} /sbin/$name; done"
    status, told = machine.run(
        directory,
        f"{links} && PATH=/sbin:/usr/sbin:/usr/bin:$PATH python3 -m tests.integration.lvm.inside",
        folders=["nbdtun", "twisted", "tests", "lab"],
        packages=["nbdtun", "libvirt-python"],
        drivers=["loop", "dm_mod"],
        files=[*programs, *DRIVERS],
    )
    assert status == 0, told[-5000:]
    assert "a logical volume came and went" in told
