"""Files and block devices, as both hosts can compare them."""

from __future__ import annotations

import os
from pathlib import Path

from nbdtun.spawn.content import digest, identity


def test_the_content_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(str(tmp_path / "a")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_device_is_called_the_same_by_both_hosts(tmp_path: Path) -> None:
    (tmp_path / "boot").write_text("one-boot\n")
    device, other = os.makedev(253, 1), os.makedev(8, 0)
    (tmp_path / "253:1/dm").mkdir(parents=True)
    (tmp_path / "253:1/dm/uuid").write_text("LVM-abc\n")
    assert identity(device, tmp_path, tmp_path / "boot") == "dm/uuid LVM-abc"
    assert identity(other, tmp_path, tmp_path / "boot") == f"one-boot {other}"


def test_a_partition_is_called_by_its_disk_and_its_number(tmp_path: Path) -> None:
    (tmp_path / "boot").write_text("one-boot\n")
    disk = tmp_path / "devices/sda"
    for number in (1, 2):
        (disk / f"sda{number}").mkdir(parents=True)
        (disk / f"sda{number}/partition").write_text(f"{number}\n")
        (tmp_path / f"8:{number}").symlink_to(disk / f"sda{number}")
    (disk / "device").mkdir()
    (disk / "device/wwid").write_text("naa.6001\n")
    first, second = (identity(os.makedev(8, number), tmp_path, tmp_path / "boot") for number in (1, 2))
    assert (first, second) == ("device/wwid naa.6001 1", "device/wwid naa.6001 2")
