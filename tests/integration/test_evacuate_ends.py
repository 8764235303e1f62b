"""How `nbdtun evacuate` ends where not all goes well, and what it keeps to: unknown outcomes, a full disk, a window, full destinations."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lab.disks import MIB
from lab.fleet import SMALL, Run
from lab.pair import Plan
from lab.process import Process, wait
from lab.qemu import CPU, Qemu
from tests.integration.fleets import QUICK, Fleets

pytestmark = pytest.mark.slow

APPLICATION = """
import sys
from pathlib import Path
from twisted.internet import reactor, task
from nbdtun.service import Terms, evacuate, steady

async def main(reactor, qmp, journal, words, *to):
    steady(reactor)
    overview = await evacuate(reactor, Terms(qmp=qmp, to=to, words=tuple(words.split())), Path(journal), seen.append)
    print(overview.status, overview.counts(), any(not each.over for each in seen))

seen = []
task.react(lambda reactor: task.Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
"""

LARGE = [Plan(128 * MIB, filled=1.0)]
"""Disks whose copies last for some seconds."""


@pytest.fixture
def small(directory: Path) -> Iterator[Path]:
    """A disk with little space."""
    if os.geteuid() != 0:
        pytest.skip("a disk of our own takes root")
    path = directory / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(path: Path) -> None:
    """Let nothing more be written there."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while file.write(bytes(512)):
            pass


def copying(run: Run) -> bool:
    return any(vm.get("phase") == "mirror" for vm in run.last["vms"]) if run.states() else False


def test_what_became_of_it_is_unknown_until_its_destination_can_be_asked(fleets: Fleets) -> None:
    """Its process is killed when it is about to end the QEMU here, and that QEMU has ended before anybody else can ask it."""
    fleet = fleets(1, hosts=1)
    gate = fleet.gate("vm01", "quit")
    run = fleet.evacuate(*QUICK, "--retries", "1")
    gate.wait_held(240)
    fleet.daemons[0].kill()
    for pid in fleet.migrations("vm01"):
        os.kill(pid, signal.SIGKILL)
    fleet.pairs["vm01"].source.kill()
    gate.refuse()
    assert run.wait_exit(300) == 3, run.log()
    assert run.states() == {"vm01": "unknown"}
    assert run.log().splitlines()[-1].startswith("nbdtun: vm01: unknown: it is not here any more")
    fleet.start_daemon(0)
    again = fleet.resume()
    assert again.wait_exit(300) == 0, again.log()
    assert fleet.faults() == []


def test_a_full_disk_ends_the_engine_and_no_migration(fleets: Fleets, small: Path) -> None:
    fleet = fleets(2, plans=LARGE)
    kept = ("--journal", f"{small}/evacuation.journal")
    run = fleet.evacuate(*QUICK, *kept, "--bandwidth", "16MiB")
    wait(lambda: copying(run), 240, "the first copy", run)
    fill(small / "more")
    assert run.wait_exit(240) == 1
    assert "full" in run.log()
    assert run.log().rstrip().endswith("[journal]")
    assert fleet.migrations() != []
    for pair in fleet.pairs.values():
        assert pair.running() == [pair.source]
        assert pair.source.ticking()
    (small / "more").unlink()
    again = fleet.resume(*kept)
    assert again.wait_exit(300) == 0, again.log()
    assert fleet.faults() == []


def test_a_destination_that_receives_as_many_as_it_may_is_waited_for(fleets: Fleets) -> None:
    fleet = fleets(3, hosts=1, daemon_options=["--max-arrivals", "1"])
    run = fleet.evacuate("--retry-pause", "300ms", "--retries", "0", "--copying", "3", "--bandwidth", "8MiB")
    assert run.wait_exit(300) == 0, run.log()
    assert any(vm["attempts"] > 1 for vm in run.last["vms"])
    assert [vm["failures"] for vm in run.last["vms"]] == [0, 0, 0]
    assert fleet.faults() == []


def test_the_end_of_the_window_rolls_back_what_is_not_ready(fleets: Fleets) -> None:
    fleet = fleets(1, plans=LARGE)
    if time.localtime().tm_sec > 30:
        time.sleep(61 - time.localtime().tm_sec)
    began = time.time()
    hours = "-".join(time.strftime("%H:%M", time.localtime(began + minutes * 60)) for minutes in (0, 1))
    run = fleet.evacuate(*QUICK, "--window", hours, "--at-end", "roll-back", "--bandwidth", "64KiB")
    wait(lambda: copying(run), 60 - began % 60, "its copy", run)
    wait(lambda: not run.last["window_open"] and run.states() == {"vm01": "waiting"}, 120, "the end of the window", run)
    assert fleet.faults(set()) == []
    fleet.command("set", f"@{run.pid}", "--bandwidth", "none", "--run-dir", f"{fleet.directory}/run")
    run.signal(signal.SIGINT)
    assert run.wait_exit(60) == 1, run.log()
    assert fleet.faults(set()) == []


def test_an_application_evacuates_by_its_own_reactor(fleets: Fleets) -> None:
    fleet = fleets(2)
    words = f"--tls-dir {fleet.tls} --run-dir {fleet.directory}/run --settle 200ms"
    command = [sys.executable, "-c", APPLICATION, f"{fleet.directory}/vms/{{vm}}/src.qmp", f"{fleet.journal}", words, *fleet.to]
    with Process(command, fleet.directory / "application.log") as application:
        application.wait_exit(240)
    assert application.log() == "0 {'moved': 2} True\n"
    assert fleet.faults() == []


def test_one_switches_over_at_a_time(fleets: Fleets) -> None:
    fleet = fleets(4)
    run = fleet.evacuate(*QUICK, "--copying", "4")
    assert run.wait_exit(300) == 0, run.log()
    assert run.crowds() == []
    assert any(vm["state"] == "held" for overview in run.overviews() for vm in overview["vms"])
    assert fleet.faults() == []


def test_a_destination_that_dies_for_good_keeps_one_vm_waiting_and_no_other(fleets: Fleets) -> None:
    """It dies while a VM switches over; the tunnel waits for it, as long as its resume window is."""
    fleet = fleets(3)
    gate = fleet.gate("vm01", "migrate-continue")
    run = fleet.evacuate(*QUICK, "--copying", "1", "--order", "vm01")
    gate.wait_held(240)
    dead = fleet.to.index(next(vm["to"] for vm in run.last["vms"] if vm["vm"] == "vm01"))
    fleet.daemons[dead].kill()
    others = {"vm02": "moved", "vm03": "moved"}
    wait(lambda: run.states() == {"vm01": "switching over", **others}, 240, "the others", run)
    assert {vm["to"] for vm in run.last["vms"] if vm["vm"] in others} == {fleet.to[1 - dead]}
    assert fleet.pairs["vm01"].source.status() != "running"  # it is in the midst of it
    fleet.start_daemon(dead)
    gate.open()
    wait(lambda: not (fleet.tend() or run.running()), 300, "its end")
    assert run.wait_exit(10) == 0, run.log()
    assert fleet.faults() == []


def test_all_together_keep_to_the_bandwidth(fleets: Fleets) -> None:
    limit = 16 * MIB
    fleet = fleets(3, plans=LARGE, rate=20 * limit)
    assert fleet.cable is not None
    run = fleet.evacuate(*QUICK, "--bandwidth", "16MiB", "--copying", "3")
    wait(lambda: copying(run), 240, "the first copy", run)
    began, before = time.monotonic(), fleet.cable.counters().up
    assert run.wait_exit(300) == 0, run.log()
    rate = (fleet.cable.counters().up - before) / (time.monotonic() - began)
    assert rate < 1.1 * limit
    assert fleet.faults() == []


def test_which_destination_can_take_which_vm_and_all_reasons_at_once(fleets: Fleets) -> None:
    """Each destination has another processor; one VM can go to neither, and one cannot leave."""
    fleet = fleets(4)
    fleet.daemons[1].kill()
    fleet.start_daemon(1, "other")
    waits = {"vm01": ("Penryn", CPU), "vm02": (CPU, "Penryn"), "vm03": ("Penryn", "Penryn"), "vm04": (CPU, CPU)}
    with ExitStack() as ended:
        for vm, models in waits.items():
            pair = fleet.pairs[vm]
            pair.destination.kill()
            for name, model in zip(("dst", "other"), models, strict=True):
                drives = pair.destination.drives
                ended.enter_context(Qemu(name, fleet.directory / "vms" / vm, pair.guest, drives, incoming=True, cpu=model))
        source = fleet.pairs["vm04"].source
        source.qmp("blockdev-add", driver="null-co", size=8 * MIB, **{"node-name": "spare"})
        source.qmp("blockdev-backup", device="vda", target="spare", sync="full", speed=1, **{"job-id": "nightly"})
        run = fleet.run(*fleet.options("--dry-run", "--json"))
        assert run.wait_exit(240) == 1, run.log()
    told = {vm["vm"]: vm for vm in run.last["vms"]}
    first, second = fleet.to
    assert {vm: each["to"] for vm, each in told.items()} == {"vm01": second, "vm02": first, "vm03": None, "vm04": None}
    assert "Penryn" in told["vm03"]["refused"]
    assert "nightly" in told["vm04"]["refused"]
    assert {told[vm]["code"] for vm in ("vm03", "vm04")} == {"not-migratable"}


def test_one_that_is_lost_at_its_destination(fleets: Fleets) -> None:
    """Its QEMU ends there while it is watched. The one here is kept: an operator decides."""
    fleet = fleets(2)
    run = fleet.evacuate(*QUICK, "--settle", "20s", "--copying", "1", "--order", "vm01")
    wait(lambda: any(vm.get("phase") == "settle" for vm in run.last["vms"]) if run.states() else False, 240, "vm01 there", run)
    fleet.pairs["vm01"].destination.kill()
    wait(lambda: run.states()["vm01"] == "lost", 60, "its end", run)
    wait(lambda: any(vm.get("phase") == "settle" for vm in run.last["vms"]), 240, "vm02 there", run)
    assert fleet.pairs["vm01"].source.status() == "postmigrate"
    assert run.wait_exit(300) == 4, run.log()
    assert run.states() == {"vm01": "lost", "vm02": "moved"}
    assert fleet.pairs["vm02"].running() == [fleet.pairs["vm02"].destination]


def test_disks_give_way_within_what_their_operator_wants_and_as_long_as_the_engine_lives(fleets: Fleets) -> None:
    fleet = fleets(2, plans=[Plan(256 * MIB, filled=1.0), SMALL], rate=10_000_000)
    own, source = ("--run-dir", f"{fleet.directory}/run"), fleet.pairs["vm02"].source

    def may(bandwidth: int) -> None:
        fleet.command("set", "vm02", "--bandwidth", f"{bandwidth}B", *own)

    def speed() -> int:
        return int(source.qmp("query-block-jobs")[0]["speed"])

    gate = fleet.gate("vm01", "migrate-continue")
    run = fleet.evacuate(*QUICK, "--order", "vm01")
    wait(lambda: copying(run) and bool(source.qmp("query-block-jobs")), 240, "the copy of vm02", run)
    may(8 * MIB)
    gate.wait_held(240)
    wait(lambda: 0 < speed() < 8 * MIB, 60, "it to give way", run)
    may(2 * MIB)
    assert speed() == 2 * MIB
    may(8 * MIB)
    assert 0 < speed() < 8 * MIB
    run.kill()
    wait(lambda: speed() == 8 * MIB, 30, "its own limit")
    may(2 * MIB)
    again = fleet.resume()
    wait(lambda: again.states().get("vm01") == "switching over", 60, "the next engine", again)
    gate.open()
    wait(lambda: again.states()["vm01"] == "moved", 60, "vm01 there", again)
    assert speed() == 2 * MIB
    fleet.command("set", "vm02", "--bandwidth", "none", *own)
    assert again.wait_exit(300) == 0, again.log()
    assert fleet.faults() == []
