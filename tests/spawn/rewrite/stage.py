"""A QEMU at the source, as it would be surveyed: from the words of its command line, and the images that it has open."""

from __future__ import annotations

import shlex
from typing import Any

from nbdtun.migration.finding import Level
from nbdtun.spawn.command.line import parse
from nbdtun.spawn.rewrite.answers import Answers, Mapped, Place, places
from nbdtun.spawn.rewrite.plan import plan
from nbdtun.spawn.rewrite.source import Node, Source
from nbdtun.spawn.values import Plan

MIB = 1 << 20
QMP = "/run/web1.qmp"


def disk(file: str, format_: str = "qcow2", name: str = "#block1", **more: Any) -> Node:
    return Node(name, format_, file, 64 * MIB, **{"allocated": MIB, "drive": True, **more})


def source(text: str, *nodes: Node, **more: Any) -> Source:
    """``text`` is the command line behind QEMU's name, as a shell has it."""
    known: dict[str, Any] = {
        "vm": "web1",
        "emulator": "/usr/bin/qemu-system-x86_64",
        "machine": "pc-q35-7.2",
        "qmp": QMP,
        "directory": "/srv",
        "user": "qemu",
        "nodes": nodes,
    }
    options = more.pop("options", None) or parse(shlex.split(text))
    plugged = frozenset(option.id for option in options if option.name == "device" and option.id)
    return Source(options=options, **{**known, "plugged": plugged, **more})


def answers(*disks: str, maps: tuple[str, ...] = (), **more: Any) -> Answers:
    return Answers(tuple(map(Mapped.parse, maps)), places(map(Place.parse, disks)), **more)


def planned(text: str, *nodes: Node, given: Answers | None = None, **more: Any) -> Plan:
    return plan(source(text, *nodes, **more), given or Answers())


def line(made: Plan) -> str:
    """Its command line, without what every destination has."""
    text = shlex.join(made.arguments)
    for every in ("-machine pc-q35-7.2 ", f"-qmp unix:{QMP},server=on,wait=off ", "-display none ", "-S -incoming defer"):
        text = text.replace(every, "")
    return text.strip()


def refused(made: Plan) -> list[str]:
    return [finding.what for finding in made.findings if finding.level is Level.FAILURE]


def warned(made: Plan) -> list[str]:
    return [finding.what for finding in made.findings if finding.level is Level.WARNING]
