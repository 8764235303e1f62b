"""Whether two disks have the same image: proven, or not known."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nbdtun.migration.vm.images import image_of, is_of_one_host, sector_of, space_of


def test_a_file_is_known_by_whatever_name(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"a")
    os.link(tmp_path / "a", tmp_path / "linked")
    (tmp_path / "named").symlink_to(tmp_path / "a")
    own = os.getpid()
    one = image_of(f"{tmp_path}/a", own)
    assert len(one) == 32
    assert image_of(f"{tmp_path}/linked", own) == image_of(f"{tmp_path}/named", own) == one
    assert image_of(f"{tmp_path}/b", own) != one
    assert image_of(os.path.relpath(tmp_path / "a"), own) == one


@pytest.mark.parametrize("file", ["", "/gone", "json:{}", "/\0"])
def test_what_is_not_there_is_nowhere(file: str) -> None:
    assert image_of(file, os.getpid()) == ""


def test_what_is_reached_over_the_network_is_known_by_its_address() -> None:
    assert image_of("rbd:pool/image", 1) == image_of("rbd:pool/image", 2) != ""
    assert image_of("rbd:pool/image", 1) != image_of("rbd:pool/other", 1)


def test_a_filesystem_that_two_hosts_may_have(tmp_path: Path) -> None:
    """There it does not matter which host it is."""
    image = tmp_path / "image"
    image.write_bytes(b"a")
    device = image.stat().st_dev
    places = []
    for host in ("one", "two"):
        proc = tmp_path / host
        (proc / "7").mkdir(parents=True)
        (proc / "7/root").symlink_to("/")
        (proc / "sys/kernel/random").mkdir(parents=True)
        (proc / "sys/kernel/random/boot_id").write_text(host)
        number = f"{os.major(device)}:{os.minor(device)}"
        (proc / "7/mountinfo").write_text(f"36 35 {number} / /srv rw shared:1 - nfs4 server:/srv rw\n")
        places.append(image_of(f"{image}", 7, proc))
    assert places[0] == places[1] != ""
    (tmp_path / "two/7/mountinfo").write_text(f"36 35 {number} / /srv rw - ext4 /dev/vda rw\n")
    assert image_of(f"{image}", 7, tmp_path / "two") not in ("", places[0])


@pytest.mark.parametrize(("kind", "alone"), [("ext4", True), ("tmpfs", True), ("nfs4", False), ("fuse.unknown", False)])
def test_a_filesystem_that_no_other_host_has(tmp_path: Path, kind: str, alone: bool) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"a")
    device = image.stat().st_dev
    (tmp_path / "7").mkdir()
    (tmp_path / "7/root").symlink_to("/")
    mounts = tmp_path / "7/mountinfo"
    mounts.write_text(f"36 35 {os.major(device)}:{os.minor(device)} / /srv rw - {kind} a /srv\n")
    assert is_of_one_host(f"{image}", 7, tmp_path) == alone
    assert not is_of_one_host(f"{tmp_path}", 7, tmp_path)
    assert not is_of_one_host("/gone", 7, tmp_path)
    mounts.write_text("")
    assert not is_of_one_host(f"{image}", 7, tmp_path)


@pytest.mark.parametrize(("where", "size"), [("queue", 4096), ("../queue", 4096), ("elsewhere", 1)])
def test_the_sectors_below_a_file(tmp_path: Path, where: str, size: int) -> None:
    """A partition has those of its disk."""
    image = tmp_path / "image"
    image.write_bytes(b"a")
    device = image.stat().st_dev
    block = tmp_path / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
    block.mkdir(parents=True)
    (block / where).mkdir()
    (block / where / "logical_block_size").write_text("4096\n")
    assert sector_of(f"{image}", os.getpid(), sys=tmp_path / "sys") == size
    assert sector_of("/gone", os.getpid(), sys=tmp_path / "sys") == 1
    (block / where / "logical_block_size").write_text("many")
    assert sector_of(f"{image}", os.getpid(), sys=tmp_path / "sys") == 1


def test_the_space_that_an_image_needs_beside_what_it_has(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(range(256)) * 4096)
    os.sync()
    taken = image.stat().st_blocks * 512
    space = space_of(f"{image}", os.getpid(), taken + 7)
    assert space is not None
    assert (space.system, space.place, space.needed) == (f"{image.stat().st_dev}", f"{tmp_path}", 7)
    smaller = space_of(f"{image}", os.getpid(), 1)
    assert smaller is not None
    assert smaller.needed == 0


@pytest.mark.parametrize("file", ["", "/gone", "json:{}", "/dev/null", "/"])
def test_what_is_no_file_needs_none(file: str) -> None:
    assert space_of(file, os.getpid(), 1) is None
