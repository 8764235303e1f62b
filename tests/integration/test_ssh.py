"""``--to ssh://HOST``: real QEMUs, and a real sshd between them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.daemon import BIN
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import Process, wait
from lab.sshd import SSHD, SSHCrossing
from tests.integration.outcome import journals, tuned, undisturbed

pytestmark = pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")

SMALL = Plan(32 * MIB)
NOBODY: Any = SimpleNamespace(qmp_path=Path("/none/web1.qmp"))


@pytest.fixture
def by_ssh() -> Iterator[Callable[..., SSHCrossing]]:
    """Makes a way by ssh for a pair: `by_ssh(pair, far=True)`."""
    with ExitStack() as ended:
        yield lambda pair, **options: ended.enter_context(SSHCrossing(pair, **options))


@pytest.fixture
def nobody(directory: Path, by_ssh: Callable[..., SSHCrossing]) -> SSHCrossing:
    """A way by ssh, and no VM at either end: for what fails before that matters."""
    pair: Any = SimpleNamespace(directory=directory, source=NOBODY, destination=NOBODY)
    return by_ssh(pair)


def arrived(crossing: SSHCrossing) -> None:
    """The guest runs on at the destination and nowhere else, and nothing of ours is left at either end."""
    pair = crossing.pair
    pair.destination.wait_ticks(5)
    pair.source.wait_exit()
    assert pair.faults() == []
    assert pair.destination.leftovers() == journals(pair.destination) == tuned(pair.destination) == []
    assert crossing.leftovers() == []


def stayed(crossing: SSHCrossing) -> None:
    """The guest runs on at the source as if nothing had been tried, and nothing of ours is left at either end."""
    undisturbed(crossing.pair)
    assert crossing.leftovers() == []


def one_line(crossing: SSHCrossing, *more: str) -> str:
    """What a migration that fails at once complains of, which must be one line."""
    attempt = crossing.migrate("--no-push", *more)
    assert attempt.wait_exit(60) == 1, attempt.log()
    (line,) = attempt.complaints()
    assert crossing.leftovers() == []
    return line


def test_a_running_vm_moves_by_one_command(pairs: Callable[..., Pair], by_ssh: Callable[..., SSHCrossing]) -> None:
    crossing = by_ssh(pairs(SMALL))
    crossing.sshd.script("far", "nbdtun", f"echo Welcome to dest; echo 'it is late' >&2\n{script(crossing)}")
    crossing.pair.source.wait_ticks(5)
    attempt = crossing.migrate()
    assert attempt.wait_exit(120) == 0, attempt.log()
    (line,) = attempt.complaints()
    assert line.startswith("nbdtun: web1: to ssh://dest over ")
    assert line.endswith(", under TLS 1.3")
    arrived(crossing)


def script(crossing: SSHCrossing) -> str:
    """The lines of the far end's command."""
    return (crossing.sshd.directory / "far/nbdtun").read_text().partition("\n")[2]


def test_links_through_ssh_are_dialled_again(pairs: Callable[..., Pair], by_ssh: Callable[..., SSHCrossing]) -> None:
    """Each is killed once while the disk is copied; so is the first connection, which started the far end."""
    crossing = by_ssh(pairs(SMALL))
    crossing.pair.source.wait_ticks(5)
    attempt = crossing.migrate("--through-ssh", "--bandwidth", "16MiB")
    attempt.wait_copied(4 * MIB)
    killed = [*crossing.first(), *crossing.links()]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert attempt.wait_exit(120) == 0, attempt.log()
    assert attempt.complaints()[0] == "nbdtun: web1: to ssh://dest through ssh, as --through-ssh says"
    assert len(killed) >= 3
    assert attempt.last["link"]["resumes"] >= 1
    arrived(crossing)


def wrong_key(crossing: SSHCrossing) -> None:
    crossing.sshd.know("id.pub")


def wrong_user(crossing: SSHCrossing) -> None:
    (crossing.sshd.directory / "authorized_keys").write_text("")


def no_nbdtun(crossing: SSHCrossing) -> None:
    (crossing.sshd.directory / "far/nbdtun").unlink()


def another_version(crossing: SSHCrossing) -> None:
    crossing.sshd.script("far", "nbdtun", "echo 'nbdtun-receive/7 2.0 -'; cat")


def no_python(crossing: SSHCrossing) -> None:
    crossing.sshd.script("far", "nbdtun", "exec /none/python3 -m nbdtun")


def no_sshd(crossing: SSHCrossing) -> None:
    crossing.sshd.kill()


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (wrong_key, "nbdtun: ssh://dest: Host key verification failed; its key is not the one in known_hosts"),
        (wrong_user, "Permission denied (publickey); is it the right user? `ssh dest true` must work"),
        (no_nbdtun, "nbdtun cannot be run there ("),
        (no_python, "nbdtun cannot be run there ("),
        (another_version, "nbdtun: the far end's nbdtun 2.0 speaks version 7 of the dialogue, and this one 1; install the same nbdtun"),
        (no_sshd, "Connection refused; does sshd run there, on this port?"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_fails_is_one_line(nobody: SSHCrossing, wrong: Callable[[SSHCrossing], None], line: str) -> None:
    wrong(nobody)
    assert line in one_line(nobody)


def test_a_vm_that_is_not_here_leaves_nothing_there(nobody: SSHCrossing) -> None:
    attempt = nobody.migrate()
    assert attempt.wait_exit(60) == 1, attempt.log()
    assert "/none/web1.qmp: No such file or directory" in attempt.complaints()[-1]
    assert nobody.leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["--through-ssh"]], ids=["port", "ssh"])
def test_a_tunnel_alone(nobody: SSHCrossing, memory: Path, directory: Path, more: list[str]) -> None:
    """`nbdtun source` forwards to a socket there; its links are killed, its first connection too."""
    entrance = directory / "in.sock"
    far = ["--connect", nobody.sshd.to, "--far-target", f"nbd=unix:{memory}", *more]
    command = [f"{BIN}/nbdtun", "source", *far, "--forward", f"nbd=unix:{entrance}", "--run-dir", f"{nobody.run_dir}"]
    with Process(command, directory / "source.log", nobody.sshd.environment) as source:
        source.wait_log("the destination ssh://dest answers", 30)
        data = directory / "data"
        data.write_bytes(os.urandom(8 * MIB))
        with Process(["nbdcopy", data, f"nbd+unix:///?socket={entrance}"], directory / "nbdcopy.log") as copying:
            time.sleep(0.1)
            for pid in [*nobody.first(), *nobody.links()]:
                os.kill(pid, signal.SIGKILL)
            assert copying.wait_exit(60) == 0, copying.log() + source.log()
        back = subprocess.run(["nbdcopy", f"nbd+unix:///?socket={entrance}", "-"], capture_output=True, timeout=60)
        assert back.stdout[: 8 * MIB] == data.read_bytes()
        assert source.terminate() == 0, source.log()
    assert nobody.leftovers() == []


@pytest.mark.slow
def test_check(pairs: Callable[..., Pair], by_ssh: Callable[..., SSHCrossing]) -> None:
    crossing = by_ssh(pairs(SMALL))
    done = crossing.command("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("ok       ssh                  web1: to ssh://dest over ")
    assert "through ssh, one channel would carry " in done.stdout
    assert "web1 can be migrated" in done.stdout
    stayed(crossing)
    wrong_key(crossing)
    done = crossing.command("check", "--no-measure")
    assert done.returncode == 1
    assert "Host key verification failed" in done.stdout
    assert "the guest is running" in done.stdout  # what can be checked without ssh is


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a network of its own takes root")
def test_through_a_jump_host(pairs: Callable[..., Pair], by_ssh: Callable[..., SSHCrossing]) -> None:
    """The far host is in another network: its port cannot be reached. The jump host loses all its connections once."""
    crossing = by_ssh(pairs(SMALL), far=True)
    crossing.pair.source.wait_ticks(5)
    attempt = crossing.migrate("--bandwidth", "16MiB")
    attempt.wait_copied(4 * MIB)
    assert crossing.sshd.cut_jumps() >= 3
    assert attempt.wait_exit(120) == 0, attempt.log()
    line = attempt.complaints()[0]
    assert line.startswith("nbdtun: web1: to ssh://dest through ssh, as port ")
    assert line.endswith(" cannot be reached there")
    assert attempt.last["link"]["resumes"] >= 1
    arrived(crossing)


HELD = {
    "prepare": ("destination", "nbd-server-start"),
    "mirror": None,
    "ready": ("destination", "migrate-incoming"),
    "ram": None,
    "switchover": ("source", "migrate-continue"),
    "finish": ("destination", "cont"),
}


@pytest.mark.slow
@pytest.mark.parametrize("phase", HELD)
def test_a_cut_in_each_phase(pairs: Callable[..., Pair], by_ssh: Callable[..., SSHCrossing], phase: str) -> None:
    """All ssh processes are killed, and nothing but time is lost."""
    pair = pairs(SMALL)
    monitors = {"source": pair.source.qmp_path, "destination": pair.destination.qmp_path}
    with ExitStack() as ended:
        gate = None
        if (held := HELD[phase]) is not None:
            gate = ended.enter_context(Gate(pair.directory / "gate.qmp", monitors[held[0]], held[1]))
            monitors[held[0]] = gate.path
        crossing = by_ssh(pair, qmp=(monitors["source"], monitors["destination"]))
        pair.source.wait_ticks(5)
        attempt = crossing.migrate("--through-ssh", "--bandwidth", "8MiB")
        attempt.wait_phase(phase)
        if gate is not None:
            gate.wait_held()
        else:
            time.sleep(0.5)
        for pid in [*crossing.first(), *crossing.links()]:
            os.kill(pid, signal.SIGKILL)
        if gate is not None:
            gate.open()
        assert attempt.wait_exit(120) == 0, attempt.log()
        arrived(crossing)


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.6])
def test_ssh_is_killed_right_after_the_start(pairs: Callable[..., Pair], by_ssh: Callable[..., SSHCrossing], delay: float) -> None:
    """Whatever there is of the far end by then, it ends; or the migration goes on without that connection."""
    crossing = by_ssh(pairs(SMALL), options=["--resume-window", "3s"])
    crossing.pair.source.wait_ticks(5)
    attempt = crossing.migrate()
    wait(lambda: bool(crossing.first()), 20, "ssh", attempt, pause=0.005)
    time.sleep(delay)
    for pid in crossing.first():
        os.kill(pid, signal.SIGKILL)
    if attempt.wait_exit(120) == 0:
        arrived(crossing)
    else:
        assert len(attempt.complaints()) == 1
        undisturbed(crossing.pair)
        assert crossing.leftovers() in ([], ["ssh/run/receive-web1.log"])  # which says that nobody came back


@pytest.mark.slow
def test_ctrl_c_rolls_back_and_ends_the_far_end(pairs: Callable[..., Pair], by_ssh: Callable[..., SSHCrossing]) -> None:
    crossing = by_ssh(pairs(SMALL))
    crossing.pair.source.wait_ticks(5)
    attempt = crossing.migrate("--bandwidth", "4MiB")
    attempt.wait_copied(2 * MIB)
    attempt.signal(signal.SIGINT)  # as a terminal sends it, to the whole group
    assert attempt.wait_exit(60) == 130, attempt.log()
    stayed(crossing)


@pytest.mark.slow
def test_a_killed_source_leaves_a_far_end_that_ends(pairs: Callable[..., Pair], by_ssh: Callable[..., SSHCrossing]) -> None:
    crossing = by_ssh(pairs(SMALL), options=["--resume-window", "3s"])
    crossing.pair.source.wait_ticks(5)
    attempt = crossing.migrate("--bandwidth", "4MiB")
    attempt.wait_copied(2 * MIB)
    attempt.kill()
    wait(lambda: not crossing.receivers(), 30, "the end of the far end")
    again = crossing.migrate()
    assert again.wait_exit(120) == 0, again.log()
    crossing.pair.destination.wait_ticks(5)
    assert crossing.pair.faults() == []


def both_killed_after_the_handover(pair: Pair, by_ssh: Callable[..., SSHCrossing]) -> SSHCrossing:
    """The guest runs at the destination, and its source's QEMU has not been ended yet."""
    with Gate(pair.directory / "gate.qmp", pair.source.qmp_path, "quit") as gate:
        crossing = by_ssh(pair, qmp=(gate.path, pair.destination.qmp_path))
        pair.source.wait_ticks(5)
        attempt = crossing.migrate()
        gate.wait_held()
        wait(lambda: any(crossing.sshd.run_dir.rglob("web1.outcome")), 10, "the outcome", attempt)
        attempt.kill()
        gate.drop()
        for pid in crossing.receivers():
            os.kill(pid, signal.SIGKILL)
    return crossing


@pytest.mark.slow
def test_the_outcome_is_known_after_both_ends_were_killed(pairs: Callable[..., Pair], by_ssh: Callable[..., SSHCrossing]) -> None:
    pair = pairs(SMALL)
    crossing = both_killed_after_the_handover(pair, by_ssh)
    crossing.qmp = (pair.source.qmp_path, pair.destination.qmp_path)
    resolving = crossing.migrate("--resolve")
    assert resolving.wait_exit(60) == 0, resolving.log()
    pair.source.wait_exit()
    assert pair.destination.ticking()
    assert list(crossing.sshd.run_dir.rglob("*.outcome")) == []


@pytest.mark.slow
def test_of_a_guest_that_was_lost_there_meanwhile_too(pairs: Callable[..., Pair], by_ssh: Callable[..., SSHCrossing]) -> None:
    """Its QEMU has ended, and nbdtun at both ends: only the file knows that it has run there."""
    pair = pairs(SMALL)
    crossing = both_killed_after_the_handover(pair, by_ssh)
    pair.destination.kill()
    crossing.qmp = (pair.source.qmp_path, pair.destination.qmp_path)
    resolving = crossing.migrate("--resolve")
    assert resolving.wait_exit(60) == 4, resolving.log()
    assert "web1 has run at the destination, and was lost there: its QEMU has ended" in resolving.complaints()[-1]
    assert pair.source.status() == "postmigrate"
