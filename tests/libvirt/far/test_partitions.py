"""What is no partition, and one that parted does not remove; a real one is in tests/integration/libvirt_far/test_images.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.errors import LibvirtError
from nbdtun.libvirt.far import partitions


def test_a_file_is_none(tmp_path: Path) -> None:
    with pytest.raises(LibvirtError, match=r"image: the partition cannot be removed: .*No such file or directory"):
        partitions.remove(f"{tmp_path}/image")


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A disk called nvme0n1, as the kernel tells of it; `parted` is a script of ours."""
    (tmp_path / "nvme0n1/nvme0n1p3").mkdir(parents=True)
    (tmp_path / "nvme0n1/nvme0n1p3/partition").write_text("3\n")
    (tmp_path / "nvme0n1p3").symlink_to(tmp_path / "nvme0n1/nvme0n1p3")
    monkeypatch.setattr(partitions, "_KNOWN", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    return tmp_path


def script(known: Path, lines: str) -> None:
    (known / "parted").write_text(f"#!/bin/sh\n{lines}\n")
    (known / "parted").chmod(0o755)


def test_the_kernel_tells_its_disk_and_its_number(known: Path) -> None:
    script(known, f'echo "$@" >{known}/asked')
    partitions.remove("/dev/nvme0n1p3")
    assert (known / "asked").read_text() == "--script /dev/nvme0n1 rm 3\n"


def test_parteds_own_words_are_told(known: Path) -> None:
    script(known, "echo 'Error: in use' >&2; exit 1")
    with pytest.raises(LibvirtError, match="/dev/nvme0n1p3: the partition cannot be removed: Error: in use"):
        partitions.remove("/dev/nvme0n1p3")
