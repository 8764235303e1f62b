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
