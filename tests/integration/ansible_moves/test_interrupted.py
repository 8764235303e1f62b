"""A task that is interrupted, and run again: what was under way goes on, and is waited for."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from lab.ansible import Rack
from lab.disks import MIB
from lab.process import marked, wait
from tests.integration.ansible_moves.conftest import VM

MOVE = {"vm": "web1", "to": "ssh://hv2", "settle": "200ms"}


def pids(*words: str) -> list[int]:
    """The processes of this test whose command lines have all of these words."""
    return [pid for pid, command in marked().items() if all(word in command for word in words)]


@pytest.mark.slow
def test_a_module_is_killed_and_its_migration_goes_on(rack: Rack) -> None:
    vm = VM(rack, "web1", 64 * MIB)
    first = rack.play([{"nbdtun.migration.migrate": {**MOVE, "bandwidth": "4MiB"}}])
    image = rack.hosts[1].path("/srv/vm/web1.qcow2")
    wait(lambda: image.exists() and image.stat().st_blocks * 512 > 4 * MIB, 120, "the copy", first)
    kill_the_module()
    first.wait_exit(60)
    assert pids("nbdtun migrate", "--progress=final")
    assert vm.runs_at() == ["hv1"]
    other = rack.task("migrate", vm="web1", to="ssh://hv9")
    assert (other["failed"], other["code"]) == (True, "not-migratable"), other
    (about,) = rack.task("vm_info")["vms"]
    assert about["migration"]["to"] == "ssh://hv2"
    again = rack.task("migrate", **MOVE)
    assert (again["failed"], again["changed"], again["outcome"], again["adopted"]) == (False, True, "moved", True), again
    assert vm.runs_at() == ["hv2"]
    assert vm.whole_at(1) == []


def kill_the_module(does: str = "nbdtun migrate --progress=final") -> None:
    """The module's own process is the parent of nbdtun, which has a session of its own."""
    (moving,) = pids(does)
    stat = Path(f"/proc/{moving}/stat").read_text().rpartition(")")[2].split()
    assert stat[3] == f"{moving}"
    os.kill(int(stat[1]), signal.SIGKILL)


@pytest.mark.slow
def test_an_outcome_that_is_unknown_is_settled_by_the_next_run(rack: Rack) -> None:
    """The module and nbdtun are killed when the VM has been handed over, and has not been watched to the end."""
    vm = VM(rack, "web1")
    first = rack.play([{"nbdtun.migration.migrate": {**MOVE, "settle": "20s", "options": {"resume-window": "2s"}}}])
    wait(lambda: vm.ticks(1) > 0, 120, "its arrival", first)
    kill_the_module()
    for pid in pids("nbdtun migrate"):
        os.kill(pid, signal.SIGKILL)
    first.wait_exit(120)
    again = rack.task("migrate", **MOVE)
    assert (again["failed"], again["changed"], again["outcome"], again["settled"]) == (False, True, "moved", True), again
    assert vm.runs_at() == ["hv2"]
    assert vm.whole_at(1) == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["killed", "alive"])
def test_an_evacuation_goes_on(rack: Rack, engine: str) -> None:
    """The module is killed, and the engine too, or not; the next run ends it, and its report has all that was moved."""
    vms = [VM(rack, name) for name in ("web1", "web2")]
    wanted: dict[str, Any] = {
        "to": ["ssh://hv2"],
        "settle": "200ms",
        "retry_pause": "500ms",
        "copying": 1,
        "bandwidth": "4MiB",
        "report": "/srv/report.json",
    }
    first = rack.play([{"nbdtun.migration.evacuate": wanted}])
    image = rack.hosts[1].path("/srv/vm/web1.qcow2")
    wait(lambda: image.exists() and image.stat().st_blocks * 512 > 2 * MIB, 120, "the copy", first)
    kill_the_module("nbdtun evacuate --qmp=")
    if engine == "killed":
        for pid in pids("nbdtun evacuate"):
            os.kill(pid, signal.SIGKILL)
    first.wait_exit(60)
    again = rack.task("evacuate", **{**wanted, "bandwidth": None})
    assert (again["failed"], again["changed"], sorted(again["moved"])) == (False, True, ["web1", "web2"]), again
    assert (again["resumed"], again["adopted"]) == (engine == "killed", engine == "alive"), again
    assert sorted(each["vm"] for each in again["report"]["vms"]) == ["web1", "web2"]
    assert [vm.runs_at() for vm in vms] == [["hv2"], ["hv2"]]
    later = rack.task("evacuate", **wanted)
    assert (later["changed"], later["moved"], len(later["report"]["vms"])) == (False, [], 2), later
