"""`nbdtun check`: what it finds at real QEMUs, through the real tunnel with TLS; and that it changes nothing."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.crossing import VM, Crossing
from lab.daemon import BIN, free_port
from lab.disks import MIB
from lab.guest import Guest
from lab.pair import Pair, Plan
from lab.process import Process
from lab.qemu import MEMORY, Build, Qemu
from nbdtun.tls import issue
from nbdtun.units import size_text
from tests.integration.checked import check, failures
from tests.integration.replaced import empty, waiting

SMALL = Plan(32 * MIB)
NOBODY = 65534
BLOCKER = ["-object", "memory-backend-ram,id=m0,size=1M,share=on", "-device", "ivshmem-plain,memdev=m0,master=off"]
MEASURING = {"query-dirty-rate"}
STATES = (
    "query-status",
    "query-migrate",
    "query-migrate-capabilities",
    "query-migrate-parameters",
    "query-block",
    "query-named-block-nodes",
    "query-block-jobs",
    "query-jobs",
    "query-block-exports",
    "query-dirty-rate",
    "query-chardev",
    "query-memory-size-summary",
    "query-cpus-fast",
    "query-iothreads",
)


def states(vm: Qemu) -> dict[str, Any]:
    """All that QEMU tells of itself, but for what changes by itself."""
    told = {command: vm.qmp(command) for command in STATES}
    for device in told["query-block"]:
        device.get("inserted", {}).get("image", {}).pop("actual-size", None)
    for node in told["query-named-block-nodes"]:
        node.get("image", {}).pop("actual-size", None)
    for chardev in told["query-chardev"]:
        chardev.pop("filename", None)  # says whether somebody is connected
        chardev.pop("frontend-open", None)
    return told


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> set[str]:
    return {command for command in STATES if before[command] != after[command]}


@pytest.mark.parametrize("recent", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_all_is_well_and_nothing_changes(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], request: pytest.FixtureRequest, recent: bool
) -> None:
    builds: tuple[Build | None, Build | None] = (None, request.getfixturevalue("recent_qemu") if recent else None)
    crossing = crossings(pairs(SMALL, replace(SMALL, target_fmt="qcow2"), builds=builds))
    source, destination = crossing.pair.source, crossing.pair.destination
    source.wait_ticks(3)
    before = states(source), states(destination)
    status, report = check(crossing, "--no-measure")
    assert (status, report["level"], failures(report), failures(report, "warning")) == (0, "ok", [], [])
    assert report["measured"]["throughput"] is report["measured"]["dirty_rate"] is report["forecast"] is None
    assert (changed(before[0], states(source)), changed(before[1], states(destination))) == (set(), set())
    status, report = check(crossing)
    assert (status, report["level"]) == (0, "ok")
    assert report["measured"].keys() == {"round_trip", "throughput", "clock", "dirty_rate", "write_rate"}
    assert report["measured"]["throughput"] > 10 * MIB
    assert 0 < report["measured"]["round_trip"] < 1
    assert abs(report["measured"]["clock"]) < 1
    assert report["measured"]["write_rate"] > 0
    assert report["forecast"]["total"] > 0
    assert (changed(before[0], states(source)), changed(before[1], states(destination))) == (MEASURING, set())
    assert source.ticking()
    assert crossing.leftovers() == []  # at neither end


def test_what_was_checked_can_be_migrated(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    """And what was forecast is not far from the truth."""
    crossing = crossings(pairs(Plan(64 * MIB), paused=True))
    told = subprocess.run([BIN / "nbdtun", "check", *crossing.arguments()], capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    assert all(line.startswith("ok  ") for line in lines[:-1])
    assert lines[-1] == f"{VM} can be migrated"
    assert "the guest is paused, and stays paused at the destination" in told.stdout
    assert "the destination is verified as 127.0.0.1, round trip" in told.stdout
    assert "it takes about" in told.stdout
    attempt = crossing.migrate()
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert attempt.complaints() == []


@pytest.mark.parametrize("which", ["native_qemu", "recent_qemu"])
def test_memory_that_qemu_itself_may_lose(
    request: pytest.FixtureRequest, pairs: Callable[..., Pair], crossings: Callable[..., Crossing], which: str
) -> None:
    build = request.getfixturevalue(which)
    status, report = check(crossings(pairs(SMALL, builds=(build, build), memory=128 << 10)), "--no-measure")
    assert status == 0
    warned = [line for line in failures(report, "warning") if "without KVM may lose memory writes that the guest makes" in line]
    assert len(warned) == (build.version < (9, 0))


def test_everything_that_differs_is_told_at_once(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL, SMALL, SMALL, SMALL, paused=True))
    size, directory = SMALL.size, crossing.directory
    drives = [
        empty(directory, "vda", size // 2),
        empty(directory, "vdb", size, read_only=True),
        empty(directory, "vdd", size * 2),
    ]
    with waiting(crossing, drives, machine="pc-q35-7.1", memory=64 << 10) as other:
        before = states(other)
        status, report = check(crossing)
        assert (status, report["level"]) == (1, "failure")
        machine, memory, another, moved, small, read_only, *unsure = failures(report)
        assert machine == (
            "machine: the machine is pc-q35-7.2 at the source and pc-q35-7.1 at the destination; "
            "start the destination with -machine pc-q35-7.2"
        )
        assert memory.endswith(
            f"{size_text(MEMORY << 10)} of RAM at the source and 64 MiB at the destination; start the destination with the same -m"
        )
        sizes = f"{size_text(size // 2)} at the destination is too small for {size_text(size)} at the source"
        assert small == f"disks: disk vda: {sizes}; stop that QEMU and run `qemu-img resize IMAGE {size}` there"
        assert "disk vdb: the destination has no writable disk" in read_only
        assert "vdb is not copied: it is read-only" in read_only
        assert another.startswith("devices: vdc-dev (virtio-blk-pci at pci:03.0) is vdd-dev at the destination; ")
        assert moved.startswith("devices: vdd-dev (virtio-blk-pci at pci:04.0) is at pci:03.0 at the destination; ")
        assert [line.partition(" is ")[0] for line in unsure] == [
            "disks: disk vdc: the match",
            "disks: disk vdd: the match",
        ]
        assert {one["code"] for one in report["findings"] if one["level"] == "failure"} == {"not-migratable", "disk-mismatch"}
        assert report["measured"]["throughput"] is report["forecast"] is None  # nothing is measured for nothing
        assert changed(before, states(other)) == set()
        attempt = crossing.migrate()
        assert attempt.wait_exit(60) == 1
        assert attempt.complaints() == ["nbdtun: " + "; ".join(line.partition(": ")[2] for line in failures(report))]
        assert changed(before, states(other)) == set()


def test_a_blocker(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL, paused=True, extra=BLOCKER))
    status, report = check(crossing)
    assert status == 1
    (line,) = failures(report)
    assert line.startswith("blockers: web1 cannot be migrated: ")
    assert "ivshmem" in line
    assert line.endswith("; unplug that device")


def test_a_destination_that_does_not_wait(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL, paused=True))
    with waiting(crossing, [empty(crossing.directory, "vda", SMALL.size)], incoming=False, paused=True):
        status, report = check(crossing)
    assert status == 1
    assert failures(report) == [
        "destination: web1 at the destination: QEMU is prelaunch, not waiting for a migration; start it with -S -incoming defer"
    ]
    status, report = check(crossing)  # and now there is none
    assert status == 1
    assert "Connection refused; QEMU has ended; start it again" in failures(report)[0]


def test_what_is_wrong_of_the_tunnel(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path, tls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossing = crossings(pairs(SMALL, paused=True))
    status, report = check(crossing, "--tls-name", "b.example")
    (line,) = failures(report)
    assert status == 1
    assert line.startswith("tunnel: ")
    assert "b.example" in line

    status, report = check(crossing, arguments=["other", *crossing.arguments("--no-measure")[1:]])
    assert failures(report) == [
        f"destination: the destination has no VM 'other'; it has {VM}; start `nbdtun dest` with --vm other=QMP-SOCKET"
    ]

    for days, level, text in ((-1 / 48, "failure", "expired on"), (10, "warning", "expires soon, on")):
        monkeypatch.setattr("nbdtun.tls.pki.authority.LIFETIME", datetime.timedelta(days=days))
        shutil.copytree(tls, directory / level)
        issue.make(directory / level, ["127.0.0.1"], force=True)
        status, report = check(crossing, "--no-measure", "--tls-dir", f"{directory / level}")
        assert status == (2 if level == "failure" else 0)
        (line,) = failures(report, level)
        assert line.startswith(f"tls: {directory / level}/client-cert.pem: {text}")

    crossing.daemon.terminate()
    status, report = check(crossing)
    (line,) = failures(report)
    assert status == 1
    assert f"{crossing.to}: connection refused" in line.lower()


def test_what_is_wrong_of_the_source(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    """The destination is looked at all the same."""
    crossing = crossings(pairs(SMALL, paused=True))
    words = crossing.arguments()
    words[words.index("--qmp") + 1] = "/nonexistent.qmp"
    status, report = check(crossing, arguments=words)
    assert status == 1
    assert failures(report) == [
        "source: /nonexistent.qmp: No such file or directory; is QEMU running, with -qmp unix:PATH,server=on,wait=off?"
    ]
    assert any(one["check"] == "tunnel" and one["level"] == "ok" for one in report["findings"])
    words[words.index("--qmp") + 1] = f"{crossing.pair.destination.qmp_path}"
    status, report = check(crossing, arguments=words)
    assert "state: web1 cannot be migrated: it is itself waiting for an incoming migration; is --qmp the destination's?" in failures(report)
    status, report = check(crossing, "--disk", "vdz")
    assert failures(report) == ["disks: web1 has no disk vdz; it has vda"]
    status, report = check(crossing, "--run-dir", f"/tmp/{'long' * 20}")
    assert status == 2
    (line,) = failures(report)
    assert ": too long for the path of a UNIX socket: " in line
    assert " bytes, at most 107; choose another with --run-dir" in line
    assert not Path(f"/tmp/{'long' * 20}").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a QEMU as another user")
def test_a_directory_that_qemu_cannot_enter(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], guest: Guest, directory: Path
) -> None:
    kernel, initramfs = (Path(shutil.copy(path, directory)) for path in (guest.kernel, guest.initramfs))
    pair = pairs(SMALL, behaves=replace(guest, kernel=kernel, initramfs=initramfs), user=NOBODY, paused=True)
    crossing = crossings(pair)
    assert check(crossing, "--no-measure")[0] == 0
    closed = directory / "closed"
    closed.mkdir(0o700)
    status, report = check(crossing, "--run-dir", f"{closed}/run")
    assert status == 2
    (line,) = failures(report)
    assert line == (
        f"sockets: run directory {closed}/run: QEMU (uid {NOBODY}) may not enter {closed} (mode 700); "
        f"chmod o+x {closed}, or choose another with --run-dir"
    )
    _, report = check(crossing, "--socket-owner", "root")
    (line,) = failures(report)
    assert "it would belong to uid 0, but QEMU runs as uid 65534; run nbdtun as root or as QEMU's user, or give --socket-owner" in line
    attempt = crossing.migrate("--run-dir", f"{closed}/run")
    assert attempt.wait_exit(60) == 2
    (line,) = attempt.complaints()
    assert "may not enter" in line
    assert pair.source.leftovers() == pair.destination.leftovers() == []
    assert [path for path in closed.rglob("*") if not path.is_dir()] == []


def test_ctrl_c(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    crossing = crossings(pairs(SMALL, paused=True))
    with Process([BIN / "nbdtun", "check", *crossing.arguments()], directory / "check.log") as checking:
        checking.wait_log("clock")
        checking.signal(signal.SIGINT)
        assert checking.wait_exit(30) == 130
        assert checking.log().endswith("nbdtun: interrupted\n")
    assert check(crossing, "--no-measure")[0] == 0  # nobody holds a monitor


@pytest.mark.slow
def test_a_vm_that_is_being_migrated(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(Plan(64 * MIB)))
    crossing.pair.source.wait_ticks(2)
    attempt = crossing.migrate("--bandwidth", "1MiB")
    attempt.wait_phase("mirror")
    status, report = check(crossing)
    assert status == 1
    assert f"is being migrated by another process (pid {attempt.pid})" in failures(report)[0]
    attempt.signal(signal.SIGINT)
    assert attempt.wait_exit(60) == 130


@pytest.mark.slow
def test_a_link_that_is_too_slow(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL), cable=True)
    crossing.pair.source.wait_ticks(5)
    crossing.cable.slow(10_000)
    status, report = check(crossing)
    assert status == 0
    (line,) = failures(report, "warning")
    assert line.startswith("forecast: will not converge: the guest writes ")
    assert report["forecast"] == {"disks": None, "memory": None, "downtime": None, "total": None}


@pytest.mark.slow
def test_nobody_is_there(directory: Path, tls: Path) -> None:
    arguments = [VM, "--qmp", f"{directory}/no.qmp", "--to", f"tcp:127.0.0.1:{free_port()}", "--tls-dir", f"{tls}"]
    done = subprocess.run([BIN / "nbdtun", "check", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == f"{VM} cannot be migrated: 2 failures"
