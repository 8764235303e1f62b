"""A plan for people."""

from __future__ import annotations

from nbdtun.display.plans import plan_lines
from nbdtun.spawn.values import Path, Role
from tests.spawn.stage import PLAN, evolved, image_of


def test_a_plan() -> None:
    paths = (*PLAN.paths, Path("/srv/cd.iso", Role.MEDIUM, "-cdrom"), Path("/dev/kvm", Role.ACCESS, "-accel kvm"))
    images = (*PLAN.images, image_of(node="vdb", path="/dev/vg/b", format="raw", options={}, device=True))
    assert list(plan_lines(evolved(PLAN, paths=paths, images=images), "/opt/my qemu", ["/data"])) == [
        "make   directory /data",
        "make   qcow2 image /data/web1.qcow2 for vda: 1 GiB, compat=1.1",
        "write  raw image /dev/vg/b for vdb: 1 GiB",
        "make   socket /run/web1.qmp",
        "need   medium /srv/cd.iso, the same as here",
        "need   device /dev/kvm",
        "need   tap tap7",
        "need   port 5901",
        "start  as root:",
        "'/opt/my qemu' \\",
        "    -machine pc-q35-7.2 \\",
        "    -S \\",
        "    -incoming defer",
    ]


def test_a_unit() -> None:
    assert "start  as root, in nbdtun-web1.service:" in plan_lines(evolved(PLAN, unit=True), "qemu", [])


def test_a_backing_file_is_told() -> None:
    lines = list(plan_lines(evolved(PLAN, images=(image_of(backing="/base"),)), "qemu", []))
    assert lines[0].endswith(", backed by /base")


def test_a_secret_is_not_shown() -> None:
    lines = list(plan_lines(evolved(PLAN, arguments=("-object", "secret,id=s,data=top")), "qemu", []))
    assert lines[-1] == "    -object secret,id=s,data=HIDDEN"
