"""`nbdtun evacuate --libvirt`: a host of libvirt is emptied, its engine is killed on the way, and the VM comes home again."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lab.libvirt import SPARE, Host
from lab.libvirt_way import PATIENT, Way
from lab.process import wait

KEPT = ("--journal", f"{SPARE}/evacuation.journal")
ENDS = ("--libvirt", "--resume-window", "60s", "--settle", "200ms", "--progress", "json", *KEPT)


def where(way: Way, here: Host, there: Host, name: str) -> tuple[str | None, str | None]:
    """The states of a VM at two hosts, as `nbdtun vms` at the first one has them."""
    asked = way.command(here, "vms", name, "--libvirt", *way.to(there), "--json")
    assert asked.wait_exit(PATIENT) == 0, asked.log()
    told = json.loads(asked.log().splitlines()[-1])
    ((_, far),) = told["at"].items()
    return told["state"], far["state"]


@pytest.mark.slow
def test_there_and_home_again(ways: Callable[..., Way]) -> None:
    way = ways()
    here, there = way.ends
    plan = way.command(here, "evacuate", *ENDS, *way.to(there), "--dry-run", "--json")
    assert plan.wait_exit(PATIENT) == 0, plan.log()
    (planned,) = json.loads(plan.log().splitlines()[-1])["vms"]
    assert planned["vm"] == way.domain.name
    assert planned["memory"] > 0
    assert where(way, here, there, way.domain.name) == ("running", None)
    first = way.command(here, "evacuate", *ENDS, *way.to(there))
    wait(lambda: '"copying"' in first.log(), PATIENT, "the copying", first)
    first.kill()
    report = way.directory / "report.json"
    resumed = way.command(here, "evacuate", "--resume", *KEPT, "--progress", "none", "--report", f"{report}")
    assert resumed.wait_exit(PATIENT * 2) == 0, resumed.log()
    way.arrived(there)
    assert where(way, here, there, way.domain.name) == (None, "running")
    for disk in way.domain.disks:
        (here.spare / disk.path.name).unlink(missing_ok=True)
    (here.spare / way.domain.console).unlink(missing_ok=True)
    home = way.command(there, "evacuate", *ENDS, *way.to(here), "--restore", f"{report}")
    assert home.wait_exit(PATIENT * 2) == 0, home.log()
    assert way.domain.name in here.virsh("list", "--name")
    way.domain.wait_ticks(here, 3, PATIENT)
