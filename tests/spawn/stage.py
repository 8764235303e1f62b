"""A plan with one of everything."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from nbdtun.migration.finding import Finding, Level
from nbdtun.spawn.values import Image, Interface, Machine, Network, Path, Plan, Port, Role, Twin

IMAGE = Image(
    "vda", "/data/web1.qcow2", "qcow2", 1 << 30, {"compat": "1.1"}, 4096, False, "root", "root", 0o640, "/srv/web1.qcow2", Twin("n", "x", 7)
)
PLAN = Plan(
    vm="web1",
    emulator="/usr/bin/qemu-system-x86_64",
    arguments=("-machine", "pc-q35-7.2", "-S", "-incoming", "defer"),
    qmp="/run/web1.qmp",
    machine=Machine("pc-q35-7.2", "Nehalem", ("+aes",), True, ("virtio-blk-pci",)),
    user="root",
    images=(IMAGE,),
    paths=(Path("/run/web1.qmp", Role.SOCKET, "-qmp", "/run/web1.qmp"),),
    interfaces=(Interface("tap7", Network.TAP, "-netdev net0", "netdev.net0.ifname"),),
    ports=(Port("", 5901, "-vnc"),),
    findings=(Finding(Level.WARNING, "plan", "a warning"),),
)


def evolved(plan: Plan, **changes: Any) -> Plan:
    return evolve(plan, **changes)


def image_of(**changes: Any) -> Image:
    return evolve(IMAGE, **changes)
