"""`nbdtun migrate` and `twistd nbdtun-source --migrate`: real QEMUs with a ticking guest, through the real tunnel with TLS."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from lab.crossing import VM, Attempt, Crossing
from lab.daemon import free_port
from lab.disks import MIB
from lab.gate import Gate
from lab.guest import Guest
from lab.pair import Pair, Plan
from lab.process import Process
from lab.qemu import Build, Interface, Style
from nbdtun.tls.issue import make
from tests.integration.outcome import arrived, stayed

SMALL = Plan(32 * MIB)
NOBODY = 65534
EXAMPLE = Path(__file__).parent.parent.parent / "examples/embed.py"


def one_line(attempt: Attempt) -> str:
    """What it complains of, which must be one line."""
    assert attempt.reports() == [] or attempt.last["phase"] == "failed"
    (line,) = attempt.complaints()
    return line


def test_a_running_vm_moves(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs())
    crossing.pair.source.wait_ticks(10)
    attempt = crossing.migrate()
    assert attempt.wait_exit(120) == 0, attempt.log()
    arrived(crossing)
    assert attempt.complaints() == []


def test_keep_source(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL))
    pair = crossing.pair
    pair.source.wait_ticks(5)
    attempt = crossing.migrate("--keep-source")
    assert attempt.wait_exit(120) == 0, attempt.log()
    pair.destination.wait_ticks(5)
    assert pair.source.status() in ("paused", "postmigrate")
    told, by_qemu = attempt.last["downtime_ms"], pair.source.qmp("query-migrate")["downtime"]
    assert by_qemu / 2 < told < by_qemu + 2000
    assert pair.source.leftovers() == pair.destination.leftovers() == []
    assert pair.faults() == []


def test_paused_before_and_after(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL))
    pair = crossing.pair
    pair.source.wait_ticks(5)
    pair.source.qmp("stop")
    attempt = crossing.migrate()
    assert attempt.wait_exit(120) == 0, attempt.log()
    pair.source.wait_exit()
    assert pair.destination.status() == "paused"
    assert not pair.destination.ticking(1.0)
    pair.destination.qmp("cont")
    arrived(crossing)


@pytest.mark.parametrize("which", ["native_qemu", pytest.param("recent_qemu", marks=pytest.mark.slow)])
def test_two_disks_side_by_side(
    request: pytest.FixtureRequest, pairs: Callable[..., Pair], crossings: Callable[..., Crossing], which: str
) -> None:
    """One is qcow2 and goes to a larger raw one; sparse ones stay sparse."""
    build = request.getfixturevalue(which)
    plans = Plan(256 * MIB, filled=0.25), Plan(128 * MIB, "qcow2", target_fmt="raw", target_size=192 * MIB)
    crossing = crossings(pairs(*plans, builds=(build, build)))
    pair = crossing.pair
    pair.source.wait_ticks(10)
    attempt = crossing.migrate("--bandwidth", "40MiB")
    assert attempt.wait_exit(180) == 0, attempt.log()
    under_way = [all(0 < disk["done"] < disk["total"] for disk in report["disks"]) for report in attempt.reports() if report["disks"]]
    assert any(under_way), attempt.reports()
    arrived(crossing)
    sizes = [drive.disk.allocated() for drive in pair.destination.drives]
    assert sizes[0] < 100 * MIB
    assert sizes[1] < 100 * MIB


@pytest.mark.parametrize(
    ("interface", "style", "here", "there"),
    [
        pytest.param("ide", "drive", "native_qemu", "recent_qemu", marks=pytest.mark.slow),
        ("scsi", "blockdev", "recent_qemu", "native_qemu"),
        ("virtio", "drive", "recent_qemu", "recent_qemu"),
    ],
)
def test_kinds_of_disks_and_of_qemu(
    request: pytest.FixtureRequest,
    pairs: Callable[..., Pair],
    crossings: Callable[..., Crossing],
    interface: Interface,
    style: Style,
    here: str,
    there: str,
) -> None:
    builds: tuple[Build, Build] = (request.getfixturevalue(here), request.getfixturevalue(there))
    crossing = crossings(pairs(Plan(interface=interface, style=style), replace(SMALL, interface=interface, style=style), builds=builds))
    crossing.pair.source.wait_ticks(10)
    attempt = crossing.migrate()
    assert attempt.wait_exit(120) == 0, attempt.log()
    arrived(crossing)


@pytest.mark.parametrize("style", ["blockdev", "drive"])
def test_one_disk_of_two(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], style: Style) -> None:
    """By its node's name, or by the id of `-drive`, whose node's name QEMU makes up."""
    crossing = crossings(pairs(replace(SMALL, style=style), replace(SMALL, style=style)))
    pair = crossing.pair
    pair.source.wait_ticks(5)
    attempt = crossing.migrate("--disk", "vda")
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert [disk["node"] for disk in attempt.last["disks"]] == ["vda"]
    pair.destination.wait_ticks(5)
    assert {line.split(":")[0] for line in pair.faults()} == {"vdb"}


def test_a_machine_with_flash_and_a_cdrom(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    """Firmware in flash goes with QEMU's own migration; what is empty or read-only is left out with a word."""
    for name in ("src", "dst"):
        shutil.copy("/usr/share/seabios/bios-256k.bin", directory / f"{name}.flash")
    flash = f"if=pflash,format=raw,file={directory}/NAME.flash"
    extra = ["-drive", flash, "-device", "virtio-scsi-pci,id=bus0", "-device", "scsi-cd,id=cd0,bus=bus0.0"]
    crossing = crossings(pairs(SMALL, replace(SMALL, read_only=True), extra=extra))
    crossing.pair.source.wait_ticks(5)
    attempt = crossing.migrate()
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert [disk["node"] for disk in attempt.last["disks"]] == ["vda"]
    said = "\n".join(attempt.complaints())
    assert "vdb is not copied: it is read-only" in said
    assert "cd0 is not copied: it is empty" in said
    assert "pflash0 is not copied: QEMU's own migration copies it" in said
    assert len(attempt.complaints()) == 3
    arrived(crossing)


def test_bandwidth(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(Plan(64 * MIB, filled=1.0), paused=True))
    begun = time.monotonic()
    attempt = crossing.migrate("--bandwidth", "16MiB")
    attempt.wait_phase("ready")
    assert time.monotonic() - begun > 3
    assert attempt.wait_exit(120) == 0, attempt.log()


#: Which command, of which end, is held back so that the phase lasts; disks and memory last by themselves when they are slow.
HELD = {
    "prepare": ("destination", "nbd-server-start"),
    "ready": ("destination", "migrate-incoming"),
    "switchover": ("source", "migrate-continue"),
    "finish": ("destination", "cont"),
}


def gated(pair: Pair, crossings: Callable[..., Crossing], ended: ExitStack, phase: str) -> tuple[Crossing, Gate | None]:
    """A way over on which `phase` lasts."""
    if phase not in HELD:
        return crossings(pair), None
    end, command = HELD[phase]
    vm = pair.source if end == "source" else pair.destination
    gate = ended.enter_context(Gate(pair.directory / "gate.qmp", vm.qmp_path, command))
    qmp = (gate.path, pair.destination.qmp_path) if end == "source" else (pair.source.qmp_path, gate.path)
    return crossings(pair, qmp=qmp), gate


@pytest.mark.parametrize(
    ("number", "phase"),
    [
        (signal.SIGINT, "prepare"),
        (signal.SIGTERM, "mirror"),
        pytest.param(signal.SIGINT, "ready", marks=pytest.mark.slow),
        (signal.SIGTERM, "ram"),
        (signal.SIGINT, "switchover"),
    ],
)
def test_interrupted(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], number: signal.Signals, phase: str) -> None:
    with ExitStack() as ended:
        pair = pairs(Plan(64 * MIB))
        pair.source.wait_ticks(5)
        crossing, gate = gated(pair, crossings, ended, phase)
        attempt = crossing.migrate(*(["--bandwidth", "16MiB"] if gate is None else []))
        attempt.wait_phase(phase)
        if gate is not None:
            gate.wait_held()
        attempt.signal(number)
        attempt.wait_log("nbdtun: interrupted, rolling back")
        if gate is not None:
            gate.open()
        assert attempt.wait_exit(60) == 130, attempt.log()
        assert attempt.last["phase"] == "cancelled"
        assert attempt.phases()[-3:] == [phase, "rollback", "cancelled"]
        stayed(crossing)
        if pair.destination.running():
            assert phase in ("prepare", "mirror")  # its memory had not been asked for
        else:
            pair.renew_destination()
        again = crossing.migrate()
        assert again.wait_exit(120) == 0, again.log()
        arrived(crossing)


def test_interrupted_too_late(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    """Once the destination was told to take over there is no way back, and a signal changes nothing."""
    with ExitStack() as ended:
        pair = pairs(SMALL)
        pair.source.wait_ticks(5)
        crossing, gate = gated(pair, crossings, ended, "finish")
        assert gate is not None
        attempt = crossing.migrate()
        gate.wait_held()
        attempt.signal(signal.SIGTERM)
        attempt.wait_log("nbdtun: too late to interrupt")
        gate.open()
        assert attempt.wait_exit(60) == 0, attempt.log()
        arrived(crossing)


def test_a_smaller_target_is_refused(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(SMALL, Plan(64 * MIB, target_size=48 * MIB)))
    attempt = crossing.migrate()
    assert attempt.wait_exit(60) == 1
    assert "disk vdb: 48 MiB" in (line := one_line(attempt))
    assert "64 MiB" in line
    assert attempt.last["code"] == "disk-mismatch"
    assert attempt.phases() == ["prepare", "rollback", "failed"]
    crossing.pair.source.wait_ticks(5)
    stayed(crossing)
    assert crossing.leftovers() == []


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["other", "--qmp", "QMP", "--to", "TO", "--tls-dir", "TLS"], 1, "the destination has no VM 'other'"),
        (["web1", "--qmp", "/nonexistent.qmp", "--to", "TO", "--tls-dir", "TLS"], 1, "/nonexistent.qmp: No such file or directory"),
        (["web1", "--qmp", "DIR", "--to", "TO", "--tls-dir", "TLS"], 1, "it is not a socket"),
        (
            ["web1", "--qmp", "QMP", "--to", "tcp:127.0.0.1:FREE", "--tls-dir", "TLS"],
            1,
            "tcp:127.0.0.1:FREE: connection refused, nobody listens there; is `nbdtun dest` running?",
        ),
        (["web1", "--qmp", "QMP", "--to", "TO", "--tls-dir", "OTHER"], 1, "signed by"),
        (["web1", "--qmp", "QMP", "--to", "TO", "--tls-dir", "TLS", "--tls-name", "b.example"], 1, "b.example"),
        (["web1", "--qmp", "QMP", "--to", "TO", "--tls-dir", "NOKEY"], 2, "NOKEY/client-key.pem: No such file or directory"),
        (["web1", "--qmp", "QMP", "--to", "TO", "--tls-dir", "/nonexistent"], 2, "/nonexistent: No such file or directory"),
        (["web1", "--qmp", "QMP", "--to", "TO", "--tls-dir", "TLS", "--disk", "vdz"], 2, "web1 has no disk vdz; it has vda"),
        (["web1", "--qmp", "QMP", "--to", "TO", "--tls-dir", "TLS", "--bandwidth", "much"], 2, "'much' is not a rate"),
        (["web1", "--qmp", "QMP", "--to", "TO", "--tls-dir", "TLS", "--nonsense"], 2, "--nonsense"),
        (["web1", "--qmp", "QMP", "--to", "TO", "--tls-dir", "TLS", "--run-dir", "/proc/x"], 2, "run directory /proc/x"),
        (["web1", "--qmp", "QMP", "--to", "tcp:192.0.2.1:10810"], 2, "without --tls-dir"),
        (["web1", "--to", "TO", "--tls-dir", "TLS"], 2, "--qmp"),
        (["web1", "--qmp", "DST", "--to", "TO", "--tls-dir", "TLS"], 1, "it is itself waiting for an incoming migration"),
    ],
)
def test_errors_are_one_line(
    pairs: Callable[..., Pair],
    crossings: Callable[..., Crossing],
    directory: Path,
    tls: Path,
    arguments: list[str],
    status: int,
    line: str,
) -> None:
    crossing = crossings(pairs(SMALL, paused=True))
    pair = crossing.pair
    if "OTHER" in arguments:
        make(directory / "other", ["127.0.0.1"])
    shutil.copytree(tls, directory / "nokey", ignore=shutil.ignore_patterns("client-key.pem"))
    words = {
        "QMP": pair.source.qmp_path,
        "DST": pair.destination.qmp_path,
        "TO": crossing.to,
        "TLS": tls,
        "FREE": free_port(),
        "OTHER": directory / "other",
        "NOKEY": directory / "nokey",
        "DIR": directory,
    }

    def fill(text: str) -> str:
        for word, value in words.items():
            text = text.replace(word, f"{value}")
        return text

    # One of its own: whoever migrates a VM of that name just now, by the default one, would be found there.
    own = [] if "--run-dir" in arguments else ["--run-dir", f"{directory}/run"]
    attempt = Attempt(directory, *map(fill, arguments), *own)
    with attempt:
        assert attempt.wait_exit(60) == status, attempt.log()
        assert fill(line) in one_line(attempt)
        assert one_line(attempt).startswith("nbdtun: ")
    assert pair.source.leftovers() == pair.destination.leftovers() == []
    assert crossing.leftovers() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a QEMU as another user")
@pytest.mark.parametrize("options", [[], ["--socket-owner", "nobody:nogroup"]])
def test_qemu_of_another_user(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], guest: Guest, directory: Path, options: list[str]
) -> None:
    """It is found out who QEMU runs as; or that is said."""
    kernel, initramfs = (Path(shutil.copy(path, directory)) for path in (guest.kernel, guest.initramfs))
    pair = pairs(SMALL, behaves=replace(guest, kernel=kernel, initramfs=initramfs), user=NOBODY)
    crossing = crossings(pair, options=options)
    pair.source.wait_ticks(5)
    attempt = crossing.migrate()
    assert attempt.wait_exit(120) == 0, attempt.log()
    arrived(crossing)


def test_an_application_embeds_it(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path, tls: Path) -> None:
    crossing = crossings(pairs(SMALL))
    source = crossing.pair.source
    source.wait_ticks(5)
    with Process([sys.executable, EXAMPLE, VM, source.qmp_path, crossing.to, tls], directory / "embed.log") as application:
        assert application.wait_exit(120) == 0, application.log()
        assert f"{VM} runs at the destination; downtime " in application.log()
    arrived(crossing)
    with Process([sys.executable, EXAMPLE, VM, source.qmp_path, crossing.to, tls], directory / "again.log") as application:
        assert application.wait_exit(60) == 1
        (line,) = application.log().splitlines()
        assert line.startswith(f"still here, as before: {source.qmp_path}: No such file")
