"""What is to move. The domain's own part has real libvirts in tests/integration/libvirt_moves."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from attrs import evolve

from nbdtun.libvirt.near.survey import described
from nbdtun.libvirt.values import Image
from nbdtun.spawn.near.measure import group_name, user_name

RAW = Image("vda", "/data/web1", "raw", 1 << 20)
QCOW2 = evolve(RAW, format="qcow2")


def test_a_file_tells_its_owner_its_mode_and_what_it_takes(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x" * 8192)
    os.chmod(tmp_path / "image", 0o640)
    found = described(RAW, f"{tmp_path}/image")
    assert found == evolve(RAW, owner=user_name(os.getuid()), group=group_name(os.getgid()), mode=0o640, allocation=8192)


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ("compat=0.10", ("0.10", False, 65536)),
        ("compat=1.1", ("1.1", False, 65536)),
        ("extended_l2=on,cluster_size=131072", ("1.1", True, 131072)),
    ],
)
def test_a_qcow2_image_tells_its_form(tmp_path: Path, options: str, form: tuple[str, bool, int]) -> None:
    path = f"{tmp_path}/image"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, "1M"], check=True)
    found = described(QCOW2, path)
    assert (found.compat, found.extended_l2, found.cluster) == form


@pytest.mark.parametrize("head", [b"", b"QFI\xfb", b"x" * 200])
def test_what_is_no_qcow2_image_tells_nothing(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "image").write_bytes(head)
    assert described(QCOW2, f"{tmp_path}/image").compat == ""


def test_an_image_that_cannot_be_seen_is_taken_as_it_is() -> None:
    assert described(RAW, "/gone") == RAW
