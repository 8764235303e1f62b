"""Sockets that are given as --qmp: a QMP monitor in either of its forms, and others of the same QEMU."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.crossing import VM, Crossing
from lab.daemon import BIN
from lab.disks import MIB
from lab.pair import Pair, Plan

Maker = Callable[..., Pair]
SMALL = Plan(16 * MIB)


def test_pretty_monitors_at_both_ends(pairs: Maker, crossings: Callable[..., Crossing], directory: Path) -> None:
    pair = pairs(SMALL, paused=True, extra=["-qmp-pretty", f"unix:{directory}/NAME.pretty,server=on,wait=off"])
    crossing = crossings(pair, qmp=(directory / "src.pretty", directory / "dst.pretty"))
    assert crossing.migrate().wait_exit(60) == 0
    assert pair.destination.status() in ("paused", "prelaunch")
    assert not pair.source.running()


OTHERS = {
    "hmp": ("-monitor", "it is a monitor for humans (-monitor)"),
    "vnc": ("-vnc", "it is a VNC display"),
}


@pytest.mark.parametrize("end", ["source", "destination"])
@pytest.mark.parametrize("kind", OTHERS)
def test_another_socket(pairs: Maker, crossings: Callable[..., Crossing], directory: Path, kind: str, end: str) -> None:
    """Both say so in one line, at once; and the VM can be migrated as before."""
    option, what = OTHERS[kind]
    tail = "" if kind == "vnc" else ",server=on,wait=off"
    pair = pairs(SMALL, paused=True, extra=[option, f"unix:{directory}/NAME.{kind}{tail}"])
    wrong = directory / ("src" if end == "source" else "dst")
    path = wrong.with_suffix(f".{kind}")
    monitors = (path, pair.destination.qmp_path) if end == "source" else (pair.source.qmp_path, path)
    crossing = crossings(pair, qmp=monitors)
    where = "" if end == "source" else f"{VM} at the destination: "
    fault, remedy = f"{where}{path}: {what}, not a QMP monitor", "give the path of a -qmp socket"
    checked = subprocess.run([f"{BIN}/nbdtun", "check", *crossing.arguments("--json", "--no-measure")], capture_output=True, text=True)
    failures = [one for one in json.loads(checked.stdout)["findings"] if one["level"] == "failure"]
    assert (fault, remedy) in [(one["what"], one["remedy"]) for one in failures]
    attempt = crossing.migrate()
    assert attempt.wait_exit(30) == 1
    assert attempt.complaints() == [f"nbdtun: {fault}; {remedy}"]
    for vm in (pair.source, pair.destination):
        assert [left for left in vm.leftovers() if not left.startswith("listener")] == []  # but the other socket
