"""A far end where logind ends all processes of a user who logs out: a real systemd with logind, PAM, an sshd, and a user's ssh sessions."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import units
from lab.crossing import VM, Attempt
from lab.daemon import free_port
from lab.disks import MIB
from lab.guest import Guest
from lab.pair import Pair, Plan
from lab.process import Process, marked, wait
from lab.qemu import Build
from lab.qmp import Qmp
from lab.sshd import SSHD, SSHCrossing, Sshd
from tests.integration.lines import LINES
from tests.integration.outcome import undisturbed
from tests.integration.two_hosts import Hosts
from tests.integration.within import lent, within

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")]

PLAN = Plan(32 * MIB)
MOVER = "mover"
LINGER = "`loginctl enable-linger` there"


def begin_logind() -> int:
    """Start it, so that it ends processes; make a user, and return their number."""
    Path("/root").chmod(0o711)  # Python may be there
    Path("/etc/systemd/logind.conf.d").mkdir(parents=True, exist_ok=True)
    Path("/etc/systemd/logind.conf.d/kill.conf").write_text("[Login]\nKillUserProcesses=yes\n")
    Path("/etc/pam.d/sshd").write_text("auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_systemd.so\n")
    units.systemctl("restart", "systemd-logind")
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", MOVER], check=True)
    return pwd.getpwnam(MOVER).pw_uid


def let_in(sshd: Sshd) -> None:
    """The user's sessions run this checkout's nbdtun, with no directory of its own."""
    sshd.directory.chmod(0o755)
    sshd.directory.parent.chmod(0o755)
    sshd.script("far", "nbdtun", (sshd.directory / "far/nbdtun").read_text().splitlines()[1].partition(" --run-dir")[0])


def in_session(sshd: Sshd, command: str) -> None:
    """Run a command line in a session of the user's, which ends with it."""
    subprocess.run([sshd.directory / "bin/ssh", f"{MOVER}@dest", command], stdin=subprocess.DEVNULL, check=True, timeout=60)


def sessions() -> str:
    return subprocess.run(["loginctl", "list-sessions", "--no-legend"], capture_output=True, text=True, check=True).stdout


def told() -> str:
    """What has gone to the system's log, for want of a terminal."""
    journal = ["journalctl", "--no-pager", "--output=cat", "--identifier=nbdtun"]
    return subprocess.run(journal, capture_output=True, text=True, check=True).stdout


def sleepers() -> list[int]:
    return [pid for pid, command in marked().items() if command == "sleep 4711"]


def logged_out() -> None:
    wait(lambda: MOVER not in sessions(), 60, "the end of the user's sessions")


def linger() -> None:
    subprocess.run(["loginctl", "enable-linger", MOVER], check=True)


@within
def test_the_receiver_outlives_its_session(pairs: Callable[..., Pair], guest: Guest, directory: Path) -> None:
    """The first connection is torn while the disk is copied. Where the user does not linger, nothing begins, and it is said."""
    number = begin_logind()
    pair = pairs(PLAN, behaves=lent(guest, directory), user=number)
    with SSHCrossing(pair, pam=True) as crossing:
        let_in(crossing.sshd)
        crossing.sshd.user = MOVER
        in_session(crossing.sshd, "setsid sleep 4711 >/dev/null 2>&1 &")
        wait(lambda: not sleepers(), 60, "the end of what a session has left")

        attempt = crossing.migrate()
        assert attempt.wait_exit(60) == 1, attempt.log()
        assert attempt.complaints()[-1].endswith(f"the login manager ends this user's processes when ssh ends; {LINGER} lets them go on")
        assert LINGER in crossing.command("check").stdout
        undisturbed(pair)

        linger()
        attempt = crossing.migrate("--bandwidth", "4MiB")
        attempt.wait_copied(4 * MIB)
        for pid in crossing.first():
            os.kill(pid, signal.SIGKILL)
        logged_out()
        assert attempt.wait_exit(120) == 0, attempt.log()
        pair.destination.wait_ticks(5)
        pair.source.wait_exit()
        assert pair.faults() == []
        wait(lambda: not crossing.receivers(), 20, "the far end's end")


@within
def test_a_receiver_with_a_code_outlives_the_login_that_it_was_begun_in(pairs: Callable[..., Pair], guest: Guest, directory: Path) -> None:
    """The ssh login is torn, which ends the terminal and all processes of the session."""
    number = begin_logind()
    linger()
    pair = pairs(PLAN, behaves=lent(guest, directory), user=number)
    with Sshd(directory, pam=True) as sshd:
        let_in(sshd)
        port = free_port()
        receive = f"nbdtun receive {VM} --incoming {pair.destination.qmp_path} --listen 127.0.0.1:{port} --run-dir /tmp/received"
        login = [f"{sshd.directory}/bin/ssh", "-tt", f"{MOVER}@dest", receive]
        with Process(login, directory / "login.log") as session:
            wait(lambda: "the code is " in session.log(), 60, "the code", session)
            code = session.log().partition("the code is ")[2].partition(",")[0]
            words = [VM, "--qmp", f"{pair.source.qmp_path}", "--to", f"127.0.0.1:{port}", "--code", code, "--bandwidth", "4MiB"]
            with Attempt(directory, *words, "--run-dir", f"{directory}/run", "--settle", "200ms", number=1) as attempt:
                attempt.wait_copied(4 * MIB)
                session.kill()
                logged_out()
                assert attempt.wait_exit(120) == 0, attempt.log()
        pair.destination.wait_ticks(5)
        pair.source.wait_exit()
        assert pair.faults() == []
        wait(lambda: "it has arrived" in told(), 20, "the receiver's last words")
        assert "the terminal was closed; the source's work goes on here" in told()


@pytest.fixture
def hosts(directory: Path, native_qemu: Build) -> Iterator[Hosts]:
    begin_logind()
    one = Hosts(directory, native_qemu, pam=True)
    one.images()
    one.there = Path(f"/home/{MOVER}/vm")
    one.sshd.user = MOVER
    let_in(one.sshd)
    with one.ended:
        yield one


@within
def test_a_unit_outlives_its_session(hosts: Hosts) -> None:
    source = hosts.start(LINES["drive"])
    done = hosts.migrate("--unit")
    assert (done.returncode, LINGER in done.stderr) == (1, True), done.stderr
    assert not hosts.there.exists()
    linger()
    told = hosts.run("check", "--unit").stdout
    assert "its destination can be made there, with QEMU " in told, told
    done = hosts.migrate("--unit")
    assert done.returncode == 0, done.stderr
    source.wait_exit(20)
    logged_out()
    pid = int((hosts.there / "qemu.pid").read_text())
    assert f"/user@{pwd.getpwnam(MOVER).pw_uid}.service/" in Path(f"/proc/{pid}/cgroup").read_text()
    qmp = Qmp(hosts.there / "lab.qmp")
    assert qmp("query-status")["status"] == "running"
    qmp("quit")
    wait(lambda: not (hosts.there / "qemu.pid").exists(), 10, "the destination's end")
