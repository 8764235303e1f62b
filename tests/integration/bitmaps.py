"""Dirty bitmaps of a real QEMU: they are made, told, and held against what the guest has written since."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from lab.process import Process, wait
from lab.qemu import Qemu

KEPT, OFF, PASSING = "kept", "off", "passing"
#: Persistent? Enabled?
ALL = {KEPT: (True, True), OFF: (True, False), PASSING: (False, True)}


def add(vm: Qemu) -> Path:
    """A persistent bitmap, one that is disabled, and one in memory; returns a copy of the disk as it was then: the full backup."""
    vm.qmp("stop")
    for name, more in {KEPT: {"persistent": True}, OFF: {"persistent": True, "disabled": True}, PASSING: {}}.items():
        vm.qmp("block-dirty-bitmap-add", node="vda", name=name, **more)
    backup = vm.drives[0].disk.path.with_suffix(".backup")
    convert(vm.drives[0].disk.path, backup)
    vm.qmp("cont")
    vm.wait_ticks(5)
    return backup


def convert(image: Path, raw: Path) -> None:
    subprocess.run(["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", image, raw], check=True)


def bitmaps(vm: Qemu) -> dict[str, Any]:
    """Name to (persistent, enabled, dirty bytes), of all bitmaps with a name."""
    found = [told for node in vm.qmp("query-named-block-nodes", flat=True) for told in node.get("dirty-bitmaps", ()) if told.get("name")]
    return {told["name"]: (told["persistent"], told["recording"], told["count"]) for told in found}


def digest(vm: Qemu, name: str) -> str:
    """The digest of a bitmap's content."""
    (node,) = [
        node["node-name"]
        for node in vm.qmp("query-named-block-nodes", flat=True)
        if name in [told.get("name") for told in node.get("dirty-bitmaps", ())]
    ]
    told: str = vm.qmp("x-debug-block-dirty-bitmap-sha256", node=node, name=name)["sha256"]
    return told


def unrecorded(image: Path, name: str, backup: Path) -> list[str]:
    """What an incremental backup by the bitmap in ``image``, whose QEMU has ended, would miss; and the bitmap's own faults."""
    info = json.loads(subprocess.run(["qemu-img", "info", "--output=json", image], capture_output=True, check=True).stdout)
    there = {told["name"]: told for told in info["format-specific"]["data"].get("bitmaps", ())}
    if name not in there:
        return [f"{image.name} has no bitmap {name}: {sorted(there)}"]
    if "in-use" in there[name]["flags"]:
        return [f"{name} is inconsistent"]
    dirty = recorded(image, name)
    raw = image.with_suffix(".raw")
    convert(image, raw)
    now, before, block = raw.read_bytes(), backup.read_bytes(), 1 << 16
    changed = [at for at in range(0, len(now), block) if now[at : at + block] != before[at : at + block]]
    assert changed  # else this proves nothing
    return [f"{name} misses byte {at}" for at in changed if not any(start <= at < end for start, end in dirty)]


def recorded(image: Path, name: str) -> list[tuple[int, int]]:
    """Where the bitmap is dirty, from byte to byte, as qemu-nbd has it."""
    socket = Path(f"{image}.sock")
    options = f"driver=nbd,server.type=unix,server.path={socket},x-dirty-bitmap=qemu:dirty-bitmap:{name}"
    with Process(["qemu-nbd", "-r", "-f", "qcow2", "-B", name, "-k", socket, image], image.with_suffix(".nbd.log")) as server:
        wait(socket.exists, 10, "qemu-nbd", server)
        told = subprocess.run(["qemu-img", "map", "--output=json", "--image-opts", options], capture_output=True, check=True).stdout
    socket.unlink(missing_ok=True)
    return [(row["start"], row["start"] + row["length"]) for row in json.loads(told) if not row["data"]]
