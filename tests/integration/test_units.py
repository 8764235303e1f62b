"""The units as they are shipped, under a real systemd, which is the first process of a host of our own: each test runs in one."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from lab import units
from lab.crossing import VM, certificates
from lab.disks import MIB
from lab.gate import Gate
from lab.guest import Guest
from lab.older import missing
from lab.pair import Pair, Plan
from lab.process import Process, wait
from lab.units import DEST, MIGRATE, SOCKET, systemctl
from lab.wheels import Environment, wheel
from tests.integration.within import lent, within

PLAN = Plan(32 * MIB)
NOBODY = 65534
#: Since this commit, a program tells the connections that it is passed by their inodes.
SUCCEEDS = "dad039b"


def serve(pair: Pair, *options: str, monitor: Path | None = None, program: Path | None = None) -> None:
    """The units are installed, so that they can move the pair's VM, by a `program` of another place if wanted; the port is open."""
    units.install(program)
    tls = certificates(units.OPTIONS)
    waiting = monitor or pair.destination.qmp_path
    units.OPTIONS.joinpath("dest.toml").write_text(f'tls-dir = "{tls}"\nvm = ["{VM}={waiting}"]\n')
    where = ["--qmp", f"{pair.source.qmp_path}", "--to", "127.0.0.1", "--tls-dir", f"{tls}", "--settle", "200ms"]
    units.OPTIONS.joinpath(f"migrate-{VM}.env").write_text(f"OPTIONS={' '.join([*where, *options])}\n")
    systemctl("start", SOCKET)


def arrived(pair: Pair) -> None:
    """The guest runs on at the destination, with all that it ever wrote, and the units have nothing to complain of."""
    pair.destination.wait_ticks(5)
    pair.source.wait_exit()
    assert pair.faults() == []
    said = units.journal(MIGRATE) + units.journal(DEST)
    assert f"{VM}: runs at the destination" in said
    assert "Traceback" not in said


def followed() -> None:
    """The journal has the migration by its id, at both ends, and by what each line is about."""
    (begun,) = units.entries(f"_SYSTEMD_UNIT={MIGRATE}", "NBDTUN_PHASE=prepare")
    one = units.entries(f"NBDTUN_SESSION={begun['NBDTUN_SESSION']}")
    assert {each["_SYSTEMD_UNIT"] for each in one} == {MIGRATE, DEST}
    assert {each["NBDTUN_VM"] for each in one if "NBDTUN_CHANNEL" not in each} == {VM}
    assert [each["NBDTUN_PHASE"] for each in one if "NBDTUN_PHASE" in each][:3] == ["prepare", "mirror", "ready"]
    assert any(each.get("NBDTUN_CHANNEL", "").startswith("ram.") and "NBDTUN_PEER" in each for each in one)
    assert f"{VM}: session {begun['NBDTUN_SESSION']} finished" in [each["MESSAGE"] for each in one]


@within
def test_the_hardened_units_move_a_vm(pairs: Callable[..., Pair], guest: Guest, directory: Path) -> None:
    """QEMU is another user's, so root needs all the rights that it has left."""
    pair = pairs(PLAN, behaves=lent(guest, directory), user=NOBODY)
    pair.source.wait_ticks(5)
    serve(pair)
    assert units.show(DEST, "ActiveState") == "inactive"  # nobody has come yet
    systemctl("start", "--wait", MIGRATE)
    arrived(pair)
    followed()
    units.wait_status(DEST, "nothing under way", 10)
    systemctl("stop", DEST)
    assert units.show(DEST, "Result") == "success"
    assert list(Path("/run/nbdtun").rglob("*.sock")) == []


@pytest.mark.slow
@within
def test_a_program_is_replaced_while_a_vm_moves(pairs: Callable[..., Pair]) -> None:
    """The new process is the unit's main one, and the old one goes on beside it; a stop ends both."""
    pair = pairs(PLAN)
    pair.source.wait_ticks(5)
    serve(pair, "--bandwidth", "4MiB")
    systemctl("start", MIGRATE)
    before = units.show(DEST, "MainPID")
    subprocess.run(["/usr/bin/nbdtun", "reload", "--program", f"@{before}"], check=True, timeout=60)
    units.wait_other(DEST, before)
    assert Path(f"/proc/{before}").exists()
    units.wait_end(MIGRATE, 120)
    arrived(pair)
    units.wait_status(DEST, "nothing under way", 15)
    assert (units.show(DEST, "ActiveState"), units.show(DEST, "NRestarts")) == ("active", "0")
    systemctl("stop", DEST)
    assert units.show(DEST, "Result") == "success"
    assert not Path(f"/proc/{before}").exists()
    assert list(Path("/run/nbdtun").rglob("*.sock")) == []


@pytest.mark.slow
@within
def test_a_new_program_that_is_killed_costs_no_copy(pairs: Callable[..., Pair]) -> None:
    """systemd ends the old one with it, and starts the unit again: disks that are copied go on."""
    pair = pairs(Plan(64 * MIB, filled=1.0))
    serve(pair, "--bandwidth", "4MiB")
    systemctl("start", MIGRATE)
    units.wait_status(MIGRATE, f"{VM}: copying disks; vda ")
    before = units.show(DEST, "MainPID")
    subprocess.run(["/usr/bin/nbdtun", "reload", "--program", f"@{before}"], check=True, timeout=60)
    units.wait_other(DEST, before)
    os.kill(int(units.show(DEST, "MainPID")), signal.SIGKILL)
    wait(lambda: units.show(DEST, "NRestarts") == "1", 60, "another daemon")
    assert not Path(f"/proc/{before}").exists()
    subprocess.run(["nbdtun", "set", VM, "--bandwidth", "none"], check=True)
    units.wait_end(MIGRATE, 120)
    arrived(pair)


@pytest.mark.slow
@within
def test_a_release_is_installed_while_a_vm_moves(pairs: Callable[..., Pair], directory: Path) -> None:
    """In the place of the one that runs, and `systemctl reload` lets it take over. Links that are cut then come back through it."""
    if why := missing(SUCCEEDS):
        pytest.skip(why)
    environment, old, new = (
        Environment(directory / "venv"),
        wheel(directory / "wheels", "0.0.1", SUCCEEDS),
        wheel(directory / "wheels", "0.0.2"),
    )
    environment.install(old)
    pair = pairs(PLAN)
    pair.source.wait_ticks(5)
    serve(pair, "--bandwidth", "2MiB", program=environment.command)
    systemctl("start", MIGRATE)
    before = units.show(DEST, "MainPID")
    environment.install(new)
    systemctl("reload", DEST)
    units.wait_other(DEST, before)
    subprocess.run(["ss", "-K", "sport", "=", "10810"], check=True, stdout=subprocess.DEVNULL)
    told = subprocess.run(["/usr/bin/nbdtun", "status", "--json"], check=True, capture_output=True, text=True).stdout
    reports = {each["pid"]: each for each in map(json.loads, told.splitlines()) if each["name"] == "nbdtun-dest"}
    assert {pid: each["release"] for pid, each in reports.items()} == {int(before): "0.0.1", int(units.show(DEST, "MainPID")): "0.0.2"}
    assert reports[int(before)]["sessions"]
    subprocess.run(["/usr/bin/nbdtun", "set", VM, "--bandwidth", "none"], check=True)
    wait(lambda: units.show(MIGRATE, "ActiveState") == "inactive", 120, "the end of the migration")
    arrived(pair)
    assert "link back after" in units.journal(DEST)
    systemctl("stop", DEST)
    assert units.show(DEST, "Result") == "success"
    assert not Path(f"/proc/{before}").exists()


@pytest.mark.slow
@within
def test_qemus_user_needs_no_right_at_all(pairs: Callable[..., Pair], guest: Guest, directory: Path) -> None:
    """By the drop-in that is shipped."""
    user = pwd.getpwnam("libvirt-qemu").pw_uid
    pair = pairs(PLAN, behaves=lent(guest, directory), user=user)
    pair.source.wait_ticks(5)
    serve(pair)
    for path in (directory, units.OPTIONS, *units.OPTIONS.glob("*.pem")):
        os.chown(path, user, user)
    lines = (units.SHIPPED / "qemu-user.conf").read_text().partition("[Service]\n")[2]
    for unit in (DEST, "nbdtun-migrate@.service"):
        units.drop_in(unit, "qemu-user", lines)
    systemctl("start", "--wait", MIGRATE)
    arrived(pair)
    assert units.show(DEST, "CapabilityBoundingSet") == ""
    assert os.stat(f"/proc/{units.show(DEST, 'MainPID')}").st_uid == user


@pytest.mark.slow
@within
def test_a_restart_refuses_no_connection_and_costs_no_copy(pairs: Callable[..., Pair]) -> None:
    pair = pairs(Plan(64 * MIB))
    serve(pair, "--bandwidth", "8MiB")
    systemctl("start", DEST)
    systemctl("start", MIGRATE)  # it returns when disks are copied
    units.wait_status(MIGRATE, f"{VM}: copying disks; vda ")
    units.wait_status(DEST, "1 VM arriving, ")
    refused: list[OSError] = []
    ended = threading.Event()

    def knock() -> None:
        while not ended.wait(0.01):
            try:
                socket.create_connection(("127.0.0.1", 10810)).close()
            except OSError as failure:
                refused.append(failure)

    threading.Thread(target=knock, daemon=True).start()
    before = units.show(DEST, "MainPID")
    systemctl("restart", DEST)
    assert units.show(DEST, "MainPID") not in (before, "0")
    subprocess.run(["nbdtun", "set", VM, "--bandwidth", "none"], check=True)
    units.wait_end(MIGRATE, 120)
    ended.set()
    assert refused == []
    arrived(pair)


@pytest.mark.slow
@within
def test_one_that_hangs_is_ended_and_started_again(pairs: Callable[..., Pair]) -> None:
    """While a disk is copied, which a new daemon goes on with; a memory's stream would be lost with the old one."""
    pair = pairs(Plan(64 * MIB, filled=1.0))
    serve(pair, "--bandwidth", "1MiB")
    units.drop_in(DEST, "hasty", "WatchdogSec=10s\nTimeoutAbortSec=1s")
    systemctl("start", DEST)
    systemctl("start", MIGRATE)
    for _ in range(2):  # signs of life
        last = units.show(DEST, "WatchdogTimestampMonotonic")
        wait(lambda last=last: units.show(DEST, "WatchdogTimestampMonotonic") != last, 60, "a sign of life")  # type: ignore[misc]
    units.wait_status(MIGRATE, f"{VM}: copying disks; vda ")
    assert units.show(DEST, "NRestarts") == "0"
    os.kill(int(units.show(DEST, "MainPID")), signal.SIGSTOP)
    wait(lambda: units.show(DEST, "NRestarts") == "1", 60, "another daemon")
    units.wait_status(MIGRATE, f"{VM}: copying disks; vda ")
    subprocess.run(["nbdtun", "set", VM, "--bandwidth", "none"], check=True)
    units.wait_end(MIGRATE, 120)
    assert "Watchdog timeout" in units.journal(DEST)
    arrived(pair)


@pytest.mark.slow
@within
def test_a_host_that_shuts_down_waits_for_a_handover(pairs: Callable[..., Pair], directory: Path) -> None:
    """Beyond the unit's time limit, as far as --drain-timeout goes. A unit of the test's own keeps this process alive meanwhile."""
    pair = pairs(PLAN)
    pair.source.wait_ticks(5)
    with Gate(directory / "gate.qmp", pair.destination.qmp_path, "cont") as gate:
        serve(pair, monitor=gate.path)
        units.drop_in(DEST, "hasty", "TimeoutStopSec=3s")
        units.hold(directory / "done")
        systemctl("start", DEST)
        systemctl("start", MIGRATE)
        gate.wait_held()
        systemctl("poweroff", "--no-block")
        wait(lambda: "shutting down, waiting for" in units.show(DEST, "StatusText"), 10, "a daemon that waits")
        time.sleep(6)
        assert (units.show(DEST, "ActiveState"), units.show(MIGRATE, "ActiveState")) == ("deactivating", "deactivating")
        gate.open()
        wait(lambda: units.show(DEST, "ActiveState") == "inactive", 30, "the end of the daemon")
        arrived(pair)


@pytest.mark.slow
@within
def test_a_forward_and_a_reload(memory: Path, directory: Path) -> None:
    units.install()
    tls = certificates(units.OPTIONS)
    units.OPTIONS.joinpath("dest.toml").write_text(f'tls-dir = "{tls}"\ntarget = ["nbd=unix:{memory}"]\n')
    lines = f'tls-dir = "{tls}"\nconnect = "127.0.0.1"\nforward = ["nbd=unix:/run/nbdtun/nbd.sock"]\n'
    units.OPTIONS.joinpath("source-far.toml").write_text(lines)
    systemctl("start", SOCKET, "nbdtun-source@far.service")
    subprocess.run(["nbdinfo", "nbd+unix:///?socket=/run/nbdtun/nbd.sock"], check=True, stdout=subprocess.DEVNULL)
    units.wait_status("nbdtun-source@far.service", "nothing under way")
    file = units.OPTIONS / "dest.toml"
    file.write_text(file.read_text() + 'bandwidth = "1MiB"\n')
    systemctl("reload", DEST)
    assert "1 MiB/s" in subprocess.run(["nbdtun", "status"], check=True, capture_output=True, text=True).stdout
    file.write_text("lisen = 1\n")
    with pytest.raises(RuntimeError, match="there is no option lisen"):
        systemctl("reload", DEST)
    systemctl("stop", "nbdtun-source@far.service")
    assert not Path("/run/nbdtun/nbd.sock").exists()


@pytest.mark.slow
@within
def test_a_migration_that_is_stopped_is_rolled_back(pairs: Callable[..., Pair]) -> None:
    """That is no failure of the unit. A check that fails is one at once."""
    pair = pairs(Plan(64 * MIB))
    serve(pair, "--bandwidth", "8MiB")
    systemctl("start", DEST)
    systemctl("start", MIGRATE)
    systemctl("stop", MIGRATE)
    assert pair.disturbance() == []
    assert f"{VM}: was not migrated; it is still running at the source" in units.journal(MIGRATE)
    assert units.show(MIGRATE, "ActiveState") == "inactive"
    pair.destination.kill()
    with pytest.raises(RuntimeError, match="QEMU has ended; start it again"):
        systemctl("start", MIGRATE)


@pytest.mark.slow
@within
def test_a_file_that_is_wrong_fails_once() -> None:
    units.install()
    units.OPTIONS.mkdir()
    units.OPTIONS.joinpath("dest.toml").write_text("lisen = 1\n")
    with suppress(RuntimeError):
        systemctl("start", DEST)
    assert units.show(DEST, "Result") == "exit-code"
    assert (units.show(DEST, "ExecMainStatus"), units.show(DEST, "NRestarts")) == ("2", "0")
    assert "there is no option lisen; did you mean listen?" in units.journal(DEST)


def test_the_destinations_rights_end_a_qemu_of_another_user(tmp_path: Path) -> None:
    """One that does not quit: with the rights that the unit leaves to root, and no others."""
    kept = (units.SHIPPED / DEST).read_text().partition("CapabilityBoundingSet=CAP_")[2].partition("\n")[0].lower().split(" cap_")
    with Process(["sleep", "60"], tmp_path / "stuck.log", user=NOBODY) as stuck:
        end = f"from nbdtun.migration.destination import recovery; recovery._kill('web1', {stuck.pid})"
        rights = f"--bounding-set=-all,{','.join(f'+{right}' for right in kept)}"
        subprocess.run(["setpriv", rights, sys.executable, "-c", end], check=True)
        assert stuck.wait_exit(10) == -signal.SIGKILL


def test_systemd_has_nothing_to_say_of_them(tmp_path: Path) -> None:
    """`verify` is silent but for the manuals, which are the package's; `security` says 3.0 at most."""
    shipped = [tmp_path / path.name for path in units.SHIPPED.glob("nbdtun-*")]
    for copy in shipped:
        copy.write_text((units.SHIPPED / copy.name).read_text().replace("/usr/bin/nbdtun ", "/bin/true "))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", *map(str, shipped)], capture_output=True, text=True)
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")
    services = [path for path in shipped if path.suffix == ".service"]
    rated = ["systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold=30", *map(str, services)]
    judged = subprocess.run(rated, capture_output=True, text=True)
    assert judged.returncode == 0, judged.stdout
    assert judged.stdout.count("Overall exposure level") == 3
