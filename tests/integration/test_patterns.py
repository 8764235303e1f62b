"""A destination daemon that runs for long, and serves VMs which nobody named when it was started."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from lab.crossing import Attempt, Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan


def test_a_new_vm_needs_no_restart(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    pair = pairs(Plan(32 * MIB), paused=True)
    place = f"{directory}/incoming/{{vm}}.qmp"
    crossing = crossings(pair, daemon_options=["--vm", f"shop*={place}"])

    def migrate(vm: str) -> Attempt:
        words = crossing.arguments()
        return Attempt(directory, vm, *words[1:], number=len(vm))

    with migrate("shop9") as refused:
        assert refused.wait_exit(60) == 1
        remedy = f"it has web1; its QEMU there must have the QMP socket {place}"
        assert refused.complaints()[-1].startswith(f"nbdtun: the destination has no VM 'shop9'; {remedy}")
    assert pair.source.leftovers() == []

    (directory / "incoming").mkdir()
    (directory / "incoming" / "shop7.qmp").symlink_to(pair.destination.qmp_path)
    (status,) = crossing.command("status", "--json", far=True).stdout.splitlines()
    waiting = {vm["name"]: vm["qemu"] for vm in json.loads(status)["vms"]}
    assert waiting == {"web1": "inmigrate", "shop7": "inmigrate"}
    with migrate("shop7") as attempt:
        assert attempt.wait_exit(60) == 0, attempt.log()
    pair.source.wait_exit()
    assert pair.destination.status() == "prelaunch"  # as it was at the source
    assert crossing.leftovers() == []
