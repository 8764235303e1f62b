"""`nbdtun status`, `set` and `cancel`, from another terminal, while a real migration runs."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.crossing import VM, Attempt, Crossing
from lab.daemon import BIN
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import Process, wait
from lab.qemu import Qemu

SLOW, SLOWER = ("--bandwidth", "4MiB"), ("--bandwidth", "1MiB")


def begun(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], options: tuple[str, ...] = SLOWER) -> tuple[Crossing, Attempt]:
    """A migration that copies its disk so slowly that it still does when a busy machine has run some commands."""
    crossing = crossings(pairs(Plan(64 * MIB)))
    crossing.pair.source.wait_ticks(5)
    attempt = crossing.migrate(*options)
    attempt.wait_copied(2 * MIB)
    return crossing, attempt


def report(crossing: Crossing) -> dict[str, Any]:
    (line,) = crossing.command("status", "--json").stdout.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_status_and_set(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks(5)
    with Gate(directory / "gate.qmp", pair.destination.qmp_path, "migrate-incoming") as gate:
        crossing = crossings(pair, qmp=(pair.source.qmp_path, gate.path))
        attempt = crossing.migrate(*SLOW)
        attempt.wait_copied(4 * MIB)
        seen = report(crossing)
        assert (seen["kind"], seen["name"], seen["pid"]) == ("migration", VM, attempt.pid)
        assert (seen["bandwidth"], seen["downtime"]) == (4 * MIB, 0.3)
        told = crossing.command("status", VM)
        assert told.stdout.startswith(f"{VM} (pid {attempt.pid}): ")
        assert told.stdout.endswith("; at most 4 MiB/s, downtime 300 ms\n")
        (control,) = (crossing.run_dir / "control").iterdir()
        assert control.name.startswith(f"{VM}@")
        assert stat.S_IMODE(control.stat().st_mode) == 0o600
        assert stat.S_IMODE(control.parent.stat().st_mode) == 0o700

        changed = crossing.command("set", VM, "--bandwidth", "32MiB", "--downtime", "1s")
        assert (changed.returncode, changed.stderr) == (0, "")
        assert "at most 32 MiB/s, downtime 1.0 s" in changed.stdout
        assert [job["speed"] for job in pair.source.qmp("query-block-jobs")] == [32 * MIB]
        gate.wait_held()
        assert crossing.command("set", VM, "--bandwidth", "1MiB").returncode == 0
        gate.open()
        attempt.wait_phase("ram")
        tuned = pair.source.qmp("query-migrate-parameters")
        assert (tuned["max-bandwidth"], tuned["downtime-limit"]) == (1 * MIB, 1000)
        assert crossing.command("set", VM, "--bandwidth", "none", "--downtime", "2s").returncode == 0
        assert attempt.wait_exit(60) == 0, attempt.log()  # at 1 MiB/s that would not do
    assert "nbdtun: web1: bandwidth is now unlimited" in attempt.complaints()
    pair.destination.wait_ticks(5)
    assert pair.faults() == []
    assert crossing.command("status").stdout.startswith("no migration or daemon of this user is running here")
    assert crossing.leftovers() == []


def test_the_destination_tells_what_arrives(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    pair = pairs(Plan(64 * MIB, filled=1.0))
    pair.source.wait_ticks(5)
    crossing = crossings(pair)

    def there(*words: str) -> str:
        return crossing.command("status", *words, far=True).stdout

    waiting = json.loads(there("--json"))
    assert (waiting["listen"], waiting["state"], waiting["sessions"]) == (f"tcp:{crossing.port}:interface=127.0.0.1", "serving", [])
    assert waiting["vms"] == [{"name": VM, "qmp": f"{crossing.qmp[1]}", "qemu": "inmigrate"}]
    assert waiting["certificate_expires"] > waiting["channels"] == 0
    assert waiting["certificates"].keys() == {"server-cert.pem", "ca-cert.pem"}
    assert 0 < waiting["uptime"] < 600
    watching = ("status", f"@{crossing.daemon.pid}", "--watch", "--run-dir", f"{crossing.far_run_dir}")
    attempt = crossing.migrate(*SLOWER)
    attempt.wait_copied(4 * MIB)
    report = json.loads(there("--json"))
    (session,) = report["sessions"]
    assert (session["vm"], session["phase"], session["certificate"]) == (VM, "copying disks", "cn:nbdtun client")
    assert session["source"].startswith("127.0.0.1:")
    assert session["disks"]["total"] == 64 * MIB
    assert 2 * MIB < session["disks"]["received"] < 64 * MIB
    assert report["vms"][0]["qemu"] == "receiving"
    assert report["channels"] == report["links"] == 2
    assert report["sources"] == [{"source": "cn:nbdtun client", "channels": 2}]
    with Process([f"{BIN}/nbdtun", *watching], crossing.directory / "watch.log") as watch:
        watch.wait_log(f"\n  {VM} arrives from 127.0.0.1:")
        watch.wait_log("\n\nnbdtun-dest")  # another picture
        assert watch.terminate() == 0
    shown = there()
    assert shown.startswith(f"nbdtun-dest (pid {crossing.daemon.pid}): listens on tcp:{crossing.port}")
    assert f"\n  {VM} arrives from 127.0.0.1:" in shown
    assert "received for disks of 64 MiB" in shown
    assert crossing.command("set", VM, "--bandwidth", "none").returncode == 0
    assert attempt.wait_exit(120) == 0
    assert json.loads(there("--json"))["vms"][0]["qemu"] == "running"


def test_cancel(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing, attempt = begun(pairs, crossings)
    cancelled = crossing.command("cancel", VM)
    assert (cancelled.returncode, cancelled.stderr) == (0, "")
    assert cancelled.stdout == f"{VM} was not migrated; it is still running at the source\n"
    assert crossing.pair.source.leftovers() == []  # it has waited
    assert attempt.wait_exit(10) == 130
    assert attempt.last["phase"] == "cancelled"
    assert attempt.complaints() == [f"nbdtun: {VM}: cancelled by another command, rolling back"]
    again = crossing.command("cancel", VM)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.startswith(f"nbdtun: {VM}: no such migration or daemon of this user is running here (")
    assert crossing.migrate().wait_exit(60) == 0
    crossing.pair.destination.wait_ticks(5)
    assert crossing.pair.faults() == []


def test_cancel_a_daemon(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(Plan(64 * MIB)))
    crossing.pair.source.wait_ticks(5)
    service = crossing.serve(*SLOW)
    service.wait_log(f"{VM}: mirror", 60)
    assert crossing.command("set", VM, "--bandwidth", "3MiB").returncode == 0
    assert report(crossing)["bandwidth"] == 3 * MIB
    assert crossing.command("cancel", VM).returncode == 0
    assert service.wait_exit(20) == 130
    assert crossing.pair.disturbance() == []
    assert crossing.leftovers() == []


def test_one_migration_of_a_vm_at_a_time(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing, first = begun(pairs, crossings, SLOWER)
    second = crossing.migrate()
    assert second.wait_exit(20) == 1
    why = f"{VM} is being migrated by another process (pid {first.pid}); `nbdtun status` shows it, `nbdtun cancel` ends it"
    assert second.complaints() == [f"nbdtun: {why}"]
    assert report(crossing)["pid"] == first.pid
    link = crossing.directory / "link.qmp"
    link.symlink_to(crossing.qmp[0])
    began = time.monotonic()
    alias = crossing.migrate("--qmp", f"{link}", "--run-dir", f"{crossing.directory}/elsewhere")
    assert alias.wait_exit(20) == 1
    assert time.monotonic() - began < 9  # QEMU would let it wait for 10 s, and then it would not know why
    assert f"{VM}: another nbdtun is migrating the VM behind {link}" in alias.complaints()[-1]
    first.kill()
    wait(
        lambda: crossing.command("status").stdout.startswith("no migration or daemon of this user is running here"),
        10,
        "the end of the first",
    )
    assert list((crossing.run_dir / "control").glob("*.sock")) == []
    third = crossing.migrate()
    assert third.wait_exit(60) == 0, third.log()


def test_two_vms_of_one_name(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    """The other one is not taken for the first: it is the destination that has no room for both."""
    crossing, first = begun(pairs, crossings, SLOWER)
    with Qemu("two", crossing.directory, crossing.pair.guest, []) as two:
        other = crossing.migrate("--qmp", f"{two.qmp_path}")
        assert other.wait_exit(30) == 1
        assert other.complaints()[-1].endswith("by another session")
    assert crossing.command("cancel", f"{crossing.qmp[0]}").stdout == f"{VM} was not migrated; it is still running at the source\n"
    assert first.wait_exit(10) == 130
    assert crossing.pair.disturbance() == []


def test_sockets_that_others_could_use(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(Plan(64 * MIB)))
    crossing.pair.source.wait_ticks(5)
    (crossing.run_dir / "control").mkdir(parents=True, mode=0o755)
    attempt = crossing.migrate()
    assert attempt.wait_exit(20) == 2
    assert "it must be this user's own directory with mode 0700; choose another with --run-dir" in attempt.log()
    assert crossing.pair.disturbance() == []
