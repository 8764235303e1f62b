"""QEMU's user attacks: whatever he puts into his directories while root works there, nothing of root's becomes his, or is spoken to.

Each of these found a way to something of root's in the tree before nbdtun.ownership was made: the races within so many runs, mostly.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytest_twisted
from twisted.internet import reactor

from lab import attacker
from lab.attacker import QEMU, Attacker
from lab.daemon import Twistd
from lab.process import Process, wait
from lab.tunnel import Tunnel
from nbdtun.config import Owner
from nbdtun.errors import TargetUnreachable
from nbdtun.ownership.reach import reach
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.tunnel.carrier import TunnelCarrier, TunnelEgress
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.targets import Targets
from nbdtun.tunnel.runtime.throttle import Throttle

THOROUGH = bool(os.environ.get("NBDTUN_SLOW"))

STARTS = 18 if THOROUGH else 4
"""Of a daemon; the tree before had lost the file within 17."""

RUNS = 400 if THOROUGH else 100
"""Of what a daemon does for one session, which takes a thousandth of a start's time."""

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to lose")]


@pytest.fixture(autouse=True)
def _compiler() -> None:
    if reason := attacker.unable():
        pytest.skip(reason)


@pytest.fixture
def place() -> Iterator[Path]:
    """Where everybody may pass; short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def victim(place: Path) -> Iterator[Path]:
    """A file that only root can use, and that has to stay so."""
    secret = place / "roots"
    secret.mkdir(mode=0o700)
    file = secret / "shadow"
    file.touch(mode=0o600)
    yield file
    for path, mode in ((file, 0o600), (secret, 0o700)):
        found = path.stat()
        assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, mode), path
    assert os.listdir(secret) == [file.name]


def untouched(victim: Path) -> bool:
    found = victim.stat()
    return (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o600)


def his(path: Path, mode: int = 0o770) -> Path:
    """A directory of QEMU's user."""
    path.mkdir(exist_ok=True)
    path.chmod(mode)
    os.chown(path, QEMU, QEMU)
    return path


def emptied(path: Path) -> None:
    """Without what the attacker has left, so that the next start meets the same."""
    for name in os.listdir(path):
        if name.startswith("evil-"):
            continue
        found = path / name
        if found.is_dir() and not found.is_symlink():
            found.rmdir()
        else:
            found.unlink()


def test_sockets_in_a_directory_that_is_his(place: Path, victim: Path) -> None:
    """The directory that docs/libvirt once told people to make."""
    sockets = his(place / "nbdtun")
    words = [word for name in ("libvirt", "ram", "nbd") for word in ("--forward", f"{name}=unix:{sockets}/{name}.sock")]
    arguments = ["--connect", "tcp:127.0.0.1:1", "--socket-owner", f"{QEMU}:{QEMU}", "--run-dir", f"{place}/run", *words]
    with Attacker(place, victim, sockets):
        for start in range(STARTS):
            with Twistd(place, "nbdtun-source", *arguments, name=f"source{start}") as source:
                wait(lambda: ready(source), 60, "the daemon, or its refusal")
                source.terminate()
            assert untouched(victim), f"lost at start {start + 1}"
            emptied(sockets)


def ready(source: Twistd) -> bool:
    return not source.running() or source.log().count("starting on") >= 3


@pytest_twisted.ensureDeferred
async def test_sockets_of_a_migration(place: Path, victim: Path) -> None:
    """What `nbdtun migrate` does at the source: a socket for the disks, whose path QEMU is told, and later one for the memory."""
    rundir = RunDir(f"{place}/run", Owner(QEMU, QEMU))
    source = SimpleNamespace(runtime=SimpleNamespace(throttle=Throttle(reactor)))
    carrier = TunnelCarrier(reactor, source, rundir)  # type: ignore[arg-type]
    with Attacker(place, victim, rundir.path):
        for run in range(RUNS):
            entrance = await carrier.enter("ram", f"ram{run}")
            assert os.lstat(entrance.path).st_uid == QEMU
            await entrance.close()
            assert untouched(victim), f"lost in run {run + 1}"
    rundir.remove()
    assert os.listdir(place / "run") == []


def test_directories_of_sessions(place: Path, victim: Path) -> None:
    """What a destination does when the second session begins, and QEMU's user knows the directory from the first."""
    rundir = RunDir(f"{place}/run", Owner(QEMU, QEMU))
    with Attacker(place, victim.parent, rundir.path, rundir.subdirectory("1", Owner(QEMU, QEMU))):
        for run in range(RUNS):
            with contextlib.suppress(OSError):
                rundir.subdirectory(f"{run + 2}", Owner(QEMU, QEMU))
            assert victim.parent.stat().st_uid == 0, f"lost in run {run + 1}"
    rundir.remove()
    assert os.listdir(place / "run") == []


@pytest.fixture
def roots(victim: Path) -> Iterator[socket.socket]:
    """A socket that only root can reach."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(f"{victim.parent}/docker.sock")
        sock.listen()
        sock.setblocking(False)
        yield sock
        with pytest.raises(BlockingIOError):
            sock.accept()
    os.unlink(f"{victim.parent}/docker.sock")


def test_a_link_to_a_socket_of_roots(place: Path, victim: Path, roots: socket.socket) -> None:
    """A real tunnel whose target is in his directory."""
    (his(place / "his") / "nbd.sock").symlink_to(f"{victim.parent}/docker.sock")
    with Tunnel(place, place / "his/nbd.sock") as tunnel, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(f"{tunnel.entrance}")
        assert client.recv(1) == b""
        why = "nbd.sock is a symbolic link that users other than root and nbdtun's own can change; it is not followed"
        tunnel.source.wait_log(why)


@pytest_twisted.ensureDeferred
async def test_a_session_s_socket_that_is_a_link(place: Path, victim: Path, roots: socket.socket) -> None:
    targets = Targets()
    session = his(place / "1", 0o700)
    egress = TunnelEgress(reactor, SimpleNamespace(targets=targets), session, {QEMU})  # type: ignore[arg-type]
    egress.admit("nbd", f"{session}/nbd.sock")
    (session / "nbd.sock").symlink_to(f"{victim.parent}/docker.sock")
    with pytest.raises(TargetUnreachable, match="it is not followed"):
        await targets.find("nbd", Caller("a local peer", "local")).connect("nbd")
    os.unlink(session / "nbd.sock")
    with socket.socket(socket.AF_UNIX) as planted:  # by another user, root in this case
        planted.bind(f"{session}/nbd.sock")
        planted.listen()
        with pytest.raises(TargetUnreachable, match="uid 0 is listening there, which is not allowed"):
            await targets.find("nbd", Caller("a local peer", "local")).connect("nbd")


SWAP = """
import os, socket, sys
os.setgroups([]); os.setresgid(*3 * [int(sys.argv[1])]); os.setresuid(*3 * [int(sys.argv[1])])
os.chdir(sys.argv[2])
own = socket.socket(socket.AF_UNIX); own.bind("own"); own.listen(4096); own.setblocking(False)
print("ready", flush=True)
while True:
    os.symlink(sys.argv[3], "link"); os.rename("link", "nbd.sock")
    os.link("own", "hard"); os.rename("hard", "nbd.sock")
    os.rename("own", "nbd.sock"); os.rename("nbd.sock", "own")
    try:
        while True: own.accept()
    except OSError: pass
"""


def test_a_link_that_comes_and_goes(place: Path, victim: Path, roots: socket.socket) -> None:
    sockets = his(place / "his")
    command: list[str | Path] = [sys.executable, "-c", SWAP, f"{QEMU}", sockets, f"{victim.parent}/docker.sock"]
    with Process(command, place / "swap.log") as swapping:
        swapping.wait_log("ready")
        outcomes = [attempt(f"{sockets}/nbd.sock") for _ in range(3000)]
    assert len(set(outcomes)) > 1, set(outcomes)  # it has been a race


def attempt(path: str) -> str:
    try:
        with reach(path):
            return "reached"
    except OSError as failure:
        return str(failure.strerror)
