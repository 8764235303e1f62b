"""In a machine of its own: libvirt makes a logical volume for a disk that is to arrive, and removes it: `python -m ...inside`, as root."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from nbdtun.libvirt.connection import asking
from nbdtun.libvirt.far import volumes
from nbdtun.libvirt.far.record import Made
from nbdtun.libvirt.pools import Pools
from nbdtun.libvirt.values import Image

MIB = 1 << 20
POOL = "<pool type='logical'><name>gold</name><source><name>vg0</name></source><target><path>/dev/vg0</path></target></pool>"
URI = "storage+unix:///system?socket=/run/libvirt/libvirt-sock"
LVM = "devices { use_devicesfile = 0 obtain_device_list_from_udev = 0 } activation { udev_sync = 0 udev_rules = 0 monitoring = 0 }\n"


def prepare() -> None:
    """A volume group of 60 MiB on a loop device, and a libvirtd with its driver for storage."""
    for path, text in {
        "/etc/lvm/lvm.conf": LVM,
        "/etc/group": "root:x:0:\n",
        "/etc/libvirt/libvirtd.conf": 'unix_sock_group = "root"\nauth_unix_rw = "none"\nlog_outputs = "3:stderr"\n',
    }.items():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(text)
    os.mkdir("/disk")
    for command in (
        "mount -t tmpfs disk /disk",
        "truncate -s 64M /disk/image",
        "losetup /dev/loop0 /disk/image",
        "lvm pvcreate /dev/loop0",
        "lvm vgcreate vg0 /dev/loop0",
    ):
        subprocess.run(command.split(), check=True)
    subprocess.Popen(["libvirtd"])
    while not os.path.exists("/run/libvirt/libvirt-sock"):
        time.sleep(0.5)


def main() -> None:
    prepare()
    with asking() as libvirt:
        connection = libvirt.open(URI)
        connection.storagePoolCreateXML(POOL)
    pools = Pools(connection)
    image = Image("vda", "/dev/vg0/web1", "raw", 8 * MIB, device=True)
    place = volumes.place_of(image, pools)
    assert isinstance(place, volumes.Place)
    assert place.pool is not None
    assert (place.pool.kind, place.pool.available) == ("logical", 60 * MIB)
    assert list(volumes.judge(image, place, False)) == []
    told: list[Made] = []
    volumes.make(image, place, pools, lambda made, folders: told.append(made))
    assert told[-1].is_there
    assert told[-1].identity
    assert list(volumes.judge(image, place, False)) == []
    with open(place.path, "r+b") as device:
        device.write(b"a guest's data")
    assert "not empty" in next(volumes.judge(image, place, False)).what
    larger = Image("vda", "/dev/vg0/web1", "raw", 16 * MIB, device=True)
    assert "8388608 bytes (8 MiB) there, and 16777216 (16 MiB) at the source" in next(volumes.judge(larger, place, True)).what
    volumes.remove(told[-1], pools)
    assert not os.path.exists(place.path)
    assert next(pool for pool in pools.every() if pool.name == "gold").available == 60 * MIB
    print("a logical volume came and went")


if __name__ == "__main__":
    main()
