from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbdtun.errors import ProtocolViolation
from nbdtun.libvirt.far.record import Begun, Made, record, recorded
from nbdtun.migration.bond import Bond, Claim
from tests.libvirt.stage import SESSION, UUID


def made_of(path: Path) -> Made:
    found = path.stat()
    return Made(f"{path}", "default", found.st_dev, found.st_ino)


def test_a_record_outlives_its_process(tmp_path: Path) -> None:
    begun = Begun(UUID, "web1", SESSION, "here", "proof", "1 2 3", "/run/d", ("/data",), (Made("/data/a", "", 1, 2),), ("/nvram",), True)
    assert record(tmp_path, UUID).write(begun)
    assert record(tmp_path, UUID).read() == begun
    assert begun.bond == Bond("here", "proof")
    assert not begun.bond.admits(Claim(frozenset({"here"})))


def test_which_domains_have_a_record(tmp_path: Path) -> None:
    assert recorded(tmp_path / "none") == []
    record(tmp_path, UUID).write(Begun(UUID, "web1", SESSION))
    for name in ("web1.made", "web1.arrival", f"{UUID}.old"):
        (tmp_path / name).touch()
    assert recorded(tmp_path) == [UUID]
    with pytest.raises(ProtocolViolation):
        record(tmp_path, "../web1")


def test_an_image_is_ours_until_another_has_its_name(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    made = made_of(path)
    assert made.is_there
    assert not Made(f"{path}").is_there  # it was about to be made
    (tmp_path / "b").touch()
    os.replace(tmp_path / "b", path)
    assert not made.is_there
    path.unlink()
    assert not made.is_there


def test_a_device_is_known_by_what_the_kernel_calls_it() -> None:
    assert not Made("/dev/null", identity="dm/uuid LVM-1").is_there
