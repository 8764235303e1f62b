"""What a plan's files are like."""

from __future__ import annotations

from pathlib import Path

from nbdtun.spawn.near.measure import group_name, measured, user_name
from nbdtun.spawn.values import Path as Where
from nbdtun.spawn.values import Role
from tests.spawn.stage import IMAGE, PLAN, evolved, image_of


def test_files_are_measured(tmp_path: Path) -> None:
    medium = tmp_path / "a"
    medium.write_bytes(b"abc")
    medium.chmod(0o640)
    plan = evolved(PLAN, images=(image_of(origin=str(medium)),), paths=(Where("/x", Role.MEDIUM, "-cdrom", str(medium)),))
    made = measured(plan)
    assert (made.images[0].mode, made.images[0].owner, made.images[0].device) == (0o640, user_name(medium.stat().st_uid), False)
    assert (made.paths[0].size, made.paths[0].digest[:8]) == (3, "ba7816bf")
    assert made.findings == plan.findings


def test_what_cannot_be_read_is_a_finding() -> None:
    plan = evolved(PLAN, images=(IMAGE,), paths=(Where("/x", Role.FIRMWARE, "-kernel", "/gone"),), findings=())
    assert [finding.what for finding in measured(plan).findings] == [
        "disk vda: /srv/web1.qcow2 cannot be read: No such file or directory",
        "-kernel: /gone cannot be read: No such file or directory",
    ]


def test_a_directory_for_memory_or_a_file(tmp_path: Path) -> None:
    paths = tuple(Where("/x", Role.MEMORY, "-mem-path", str(tmp_path / name)) for name in ("", "file"))
    assert [path.role for path in measured(evolved(PLAN, images=(), paths=paths)).paths] == [Role.MEMORY, Role.RAM]


def test_a_device_by_its_place() -> None:
    assert measured(evolved(PLAN, images=(image_of(origin="", path="/dev/vg/a"),))).images[0].device


def test_numbers_without_names() -> None:
    assert (user_name(4_000_000), group_name(4_000_000)) == ("4000000", "4000000")
