"""`nbdtun evacuate`: real QEMUs, two real destinations, and processes that are killed."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress

import pytest

from lab.process import wait
from tests.integration.fleets import QUICK, Fleets


def test_a_host_is_emptied_although_the_engine_is_killed(fleets: Fleets) -> None:
    fleet = fleets(6)
    fleet.pairs["vm04"].destination.kill()
    first = fleet.evacuate(*QUICK, "--copying", "4")  # the fifth begins with the first switchover: none is begun when the engine is killed
    wait(lambda: bool({"moved", "switching over"} & set(first.states().values())), 240, "the first switchover", first)
    second = fleet.run(*fleet.options("--journal", f"{fleet.directory}/other.journal"))
    assert second.wait_exit(240) == 1
    assert "another `nbdtun evacuate` runs on this host" in second.log()
    first.kill()
    report = fleet.directory / "report.json"
    resumed = fleet.resume("--report", f"{report}")
    assert resumed.wait_exit(300) == 1, resumed.log()
    (line,) = resumed.log().splitlines()
    assert line.startswith("nbdtun: vm04: stays here: ")
    assert fleet.faults(set(fleet.pairs) - {"vm04"}) == []
    told = {vm["vm"]: vm for vm in json.loads(report.read_text())["vms"]}
    assert [told[vm]["attempts"] for vm in sorted(told)] == [1, 1, 1, 0, 1, 1]
    assert told["vm04"]["code"] == "monitor"


@pytest.mark.slow
def test_a_plan_can_be_edited(fleets: Fleets) -> None:
    fleet = fleets(3)
    drawn = fleet.run(*fleet.options("--dry-run", "--toml", "--copying", "1"))
    assert drawn.wait_exit(240) == 0, drawn.log()
    _, other = fleet.to
    text = drawn.said()
    assert "copying = 1" in text
    path = fleet.directory / "evening.toml"
    assert text.count("[[vm]]") == 3
    head = text.partition("[[vm]]")[0].rpartition("#")[0]
    path.write_text(f'{head}\n[[vm]]\nname = "vm03"\nto = "{other}"\n[[vm]]\nname = "vm01"\nto = "{other}"\n')
    run = fleet.run("--plan", f"{path}", "--journal", f"{fleet.journal}", "--progress", "json")
    assert run.wait_exit(300) == 0, run.log()
    ends = {vm["vm"]: (vm["to"], vm["ended"]) for vm in run.last["vms"]}
    assert {vm: to for vm, (to, _) in ends.items()} == {"vm01": other, "vm03": other}
    assert ends["vm03"][1] < ends["vm01"][1]
    assert fleet.faults({"vm01", "vm03"}) == []


@pytest.mark.slow
def test_processes_that_are_killed_are_settled_and_tried_again(fleets: Fleets) -> None:
    fleet = fleets(3)
    run = fleet.evacuate(*QUICK, "--retries", "5")
    killed = 0
    while run.running() and killed < 4:
        for pid in fleet.migrations()[:1]:
            time.sleep(0.7)
            with suppress(ProcessLookupError):  # one that settles a VM may have ended by itself
                os.kill(pid, signal.SIGKILL)
                killed += 1
        time.sleep(1.5)
        fleet.tend()
    wait(lambda: not (fleet.tend() or run.running()), 300, "its end")
    assert run.wait_exit(10) == 0, run.log()
    assert sum(vm["attempts"] for vm in run.last["vms"]) > 3
    assert fleet.faults() == []


@pytest.mark.slow
def test_one_whose_source_has_gone_is_asked_for_at_its_destination(fleets: Fleets) -> None:
    """The process is killed when it has told the source's QEMU to end, before it can say so."""
    fleet = fleets(1)
    gate = fleet.gate("vm01", "quit")
    run = fleet.evacuate(*QUICK)
    gate.wait_held(240)
    for pid in fleet.migrations("vm01"):
        os.kill(pid, signal.SIGKILL)
    fleet.pairs["vm01"].source.kill()
    gate.refuse()
    assert run.wait_exit(300) == 0, run.log()
    assert [vm["attempts"] for vm in run.last["vms"]] == [2]
    assert fleet.faults() == []


@pytest.mark.slow
def test_ctrl_c_once_and_twice(fleets: Fleets) -> None:
    fleet = fleets(3)
    run = fleet.evacuate(*QUICK, "--copying", "1")
    wait(lambda: "copying" in run.states().values(), 240, "the first one", run)
    run.signal(signal.SIGINT)
    assert run.wait_exit(300) == 1, run.log()
    states = run.states()
    assert sorted(states.values()) == ["moved", "stayed", "stayed"]
    assert fleet.faults({vm for vm, state in states.items() if state == "moved"}) == []
    again = fleet.evacuate(*QUICK, "--copying", "2", "--bandwidth", "1MiB")
    wait(lambda: list(again.states().values()).count("copying") == 2, 240, "two more", again)
    again.signal(signal.SIGINT)
    wait(lambda: "again" in again.log(), 10, "the first answer", again)
    again.signal(signal.SIGINT)
    assert again.wait_exit(300) == 1, again.log()
    assert fleet.faults({vm for vm, state in states.items() if state == "moved"}) == []


@pytest.mark.slow
def test_outside_of_the_window_nobody_switches_over(fleets: Fleets) -> None:
    fleet = fleets(2)
    minute = time.localtime().tm_hour * 60 + time.localtime().tm_min
    begin, end = (minute + 120) % 1440, (minute + 180) % 1440
    window = f"{begin // 60:02}:{begin % 60:02}-{end // 60:02}:{end % 60:02}"
    run = fleet.evacuate(*QUICK, "--window", window, "--copying", "1")
    wait(lambda: list(run.states().values()) == ["held", "held"], 240, "both held", run)
    time.sleep(2)
    assert list(run.states().values()) == ["held", "held"]
    run.signal(signal.SIGINT)
    wait(lambda: "again" in run.log(), 10, "the first answer", run)
    run.signal(signal.SIGINT)
    assert run.wait_exit(300) == 1
    assert fleet.faults(set()) == []


@pytest.mark.slow
def test_hooks_and_one_that_fails(fleets: Fleets) -> None:
    fleet = fleets(2)
    hooks = fleet.directory / "hooks"
    hooks.mkdir()
    for name in ("before", "switchover", "after", "failed"):
        refuses = '[ "$NBDTUN_VM" != vm02 ]' if name == "before" else "true"
        (hooks / name).write_text(f'#!/bin/sh\necho "{name} $NBDTUN_VM $NBDTUN_CODE" >>{fleet.directory}/called\n{refuses}\n')
        (hooks / name).chmod(0o700)
    run = fleet.evacuate(*QUICK, "--hook", f"{hooks}", "--retries", "1")
    assert run.wait_exit(300) == 1, run.log()
    called = (fleet.directory / "called").read_text().splitlines()
    assert [line.strip() for line in called if "vm01" in line] == ["before vm01", "switchover vm01", "after vm01"]
    assert [line.split()[0] for line in called if "vm02" in line] == ["before", "before", "failed"]
    assert fleet.faults({"vm01"}) == []


@pytest.mark.slow
def test_status_and_set_reach_it(fleets: Fleets) -> None:
    fleet = fleets(2)
    run = fleet.evacuate("--bandwidth", "500KiB")
    wait(lambda: "copying" in run.states().values(), 240, "the first one", run)
    run_dir = ("--run-dir", f"{fleet.directory}/run")
    status = fleet.command("status", f"@{run.pid}", *run_dir)
    assert "evacuate (pid" in status
    assert "2 copying" in status
    assert "vm01" in status
    fleet.command("set", f"@{run.pid}", "--bandwidth", "none", *run_dir)
    assert run.wait_exit(300) == 0, run.log()
    assert fleet.faults() == []


@pytest.mark.slow
def test_destinations_that_are_away_while_the_plan_is_made(fleets: Fleets) -> None:
    fleet = fleets(2)
    for daemon in fleet.daemons:
        daemon.kill()
    run = fleet.evacuate(*QUICK, "--retries", "8")
    wait(lambda: any(vm["failures"] for vm in run.overviews()[-1]["vms"]) if run.states() else False, 240, "the first failure", run)
    for number in range(2):
        fleet.start_daemon(number)
    assert run.wait_exit(300) == 0, run.log()
    assert fleet.faults() == []
