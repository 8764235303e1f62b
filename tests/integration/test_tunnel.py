"""The tunnel by itself: two twistd processes, and whatever speaks through a UNIX socket."""

from __future__ import annotations

import filecmp
import os
import re
import signal
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.daemon import BIN, Twistd
from lab.process import Process, wait
from lab.tunnel import Tunnel
from nbdtun.tls.issue import make

MIB = 1024 * 1024

#: twistd, when it has stopped cleanly, dies of the signal that it was sent, or ends with 0 (before Twisted 22).


@pytest.fixture
def tunnels(directory: Path) -> Iterator[Callable[..., Tunnel]]:
    """Makes a tunnel that is ended with the test."""
    with ExitStack() as ended:
        yield lambda *arguments, **options: ended.enter_context(Tunnel(directory, *arguments, **options))


@pytest.fixture
def random(directory: Path) -> Path:
    """A file of 64 MiB of random data."""
    path = directory / "random"
    path.write_bytes(os.urandom(64 * MIB))
    return path


class Listener:
    """A program that listens on a UNIX socket and does something with the one who comes."""

    def __init__(self, path: Path, serve: Callable[[socket.socket], Any]) -> None:
        self.came = threading.Event()
        self._serve = serve
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"{path}")
        self._socket.listen()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        peer, _ = self._socket.accept()
        self.came.set()
        with peer, self._socket:
            self._serve(peer)


def dial(path: Path) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(20)
    peer.connect(f"{path}")
    return peer


def read_all(peer: socket.socket) -> bytes:
    return b"".join(iter(lambda: peer.recv(MIB), b""))


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("reactor", ["epoll", "asyncio", "poll", "select"])
def test_nbdcopy_both_ways(
    tunnels: Callable[..., Tunnel],
    directory: Path,
    tls: Path,
    memory: Path,
    random: Path,
    secure: bool,
    reactor: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lab.daemon.TWISTD", ["twistd", f"--reactor={reactor}"])
    tunnel = tunnels(memory, tls if secure else None)
    subprocess.run(["nbdcopy", random, tunnel.uri], check=True, timeout=60)
    subprocess.run(["nbdcopy", tunnel.uri, directory / "copy"], check=True, timeout=60)
    assert filecmp.cmp(random, directory / "copy", shallow=False)
    tunnel.source.wait_log("is complete")
    assert "Traceback" not in tunnel.source.log() + tunnel.destination.log()


def test_half_close_both_ways(tunnels: Callable[..., Tunnel], directory: Path, tls: Path) -> None:
    def count(peer: socket.socket) -> None:
        peer.sendall(f"{len(read_all(peer))} bytes".encode())  # it answers only after the end

    Listener(directory / "count.sock", count)
    tunnel = tunnels(directory / "count.sock", tls)
    with dial(tunnel.entrance) as peer:
        peer.sendall(bytes(3 * MIB))
        peer.shutdown(socket.SHUT_WR)
        assert read_all(peer) == b"%d bytes" % (3 * MIB)


def test_what_was_written_before_a_close_arrives(tunnels: Callable[..., Tunnel], directory: Path) -> None:
    arrived: list[int] = []
    go = threading.Event()

    def late(peer: socket.socket) -> None:
        peer.sendall(b"nobody reads this")
        go.wait(20)
        arrived.append(len(read_all(peer)))

    Listener(directory / "late.sock", late)
    tunnel = tunnels(directory / "late.sock")
    with dial(tunnel.entrance) as peer:
        peer.sendall(bytes(2 * MIB))
    go.set()
    wait(lambda: arrived == [2 * MIB], 20, "the bytes")


def test_the_target_is_dialled_when_the_client_comes(tunnels: Callable[..., Tunnel], directory: Path) -> None:
    listener = Listener(directory / "nbd.sock", read_all)
    tunnel = tunnels(directory / "nbd.sock")
    assert not listener.came.is_set()
    with dial(tunnel.entrance):
        assert listener.came.wait(10)


def test_the_far_sides_reason_in_one_line(tunnels: Callable[..., Tunnel], directory: Path, tls: Path) -> None:
    missing = directory / "missing.sock"
    tunnel = tunnels(missing, tls)
    with dial(tunnel.entrance) as peer:
        assert peer.recv(1) == b""
    line = f"target nbd: unix:{missing}: No such file or directory"
    assert tunnel.source.wait_log(line).count(line) == 1
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{missing}")
    with dial(tunnel.entrance) as peer:
        assert peer.recv(1) == b""
    tunnel.source.wait_log(f"target nbd: unix:{missing}: Connection refused")
    assert "Traceback" not in tunnel.source.log() + tunnel.destination.log()


def test_a_target_that_is_not_listed(tunnels: Callable[..., Tunnel], directory: Path, memory: Path) -> None:
    other = directory / "other.sock"
    tunnel = tunnels(memory, source_options=["--forward", f"{memory.name}=unix:{other}"])
    with dial(other) as peer:
        assert peer.recv(1) == b""
    tunnel.source.wait_log("the destination has no target 'nbd.sock'")


def test_nobody_at_the_destination(tunnels: Callable[..., Tunnel], memory: Path) -> None:
    tunnel = tunnels(memory)
    tunnel.destination.terminate()
    with dial(tunnel.entrance) as peer:
        assert peer.recv(1) == b""
    tunnel.source.wait_log(f"tcp:127.0.0.1:{tunnel.port}: connection refused")


def test_a_stalled_reader_stalls_only_itself(tunnels: Callable[..., Tunnel], directory: Path, memory: Path, random: Path) -> None:
    go = threading.Event()
    got: list[int] = []

    def stall(peer: socket.socket) -> None:
        go.wait(60)
        got.append(len(read_all(peer)))

    Listener(directory / "slow.sock", stall)
    slow = directory / "slow-in.sock"
    tunnel = tunnels(
        memory,
        options=["--window", "8MiB"],
        source_options=["--forward", f"slow=unix:{slow}"],
        targets=[f"slow=unix:{directory}/slow.sock"],
    )
    subprocess.run(["nbdcopy", random, tunnel.uri], check=True, timeout=60)
    before = [daemon.rss() for daemon in (tunnel.source, tunnel.destination)]
    with dial(slow) as peer:
        peer.setblocking(False)
        sent = fill(peer)
        assert 2 * MIB <= sent < 10 * MIB, "what a near end can use, and what is in buffers of the kernel's"
        subprocess.run(["nbdcopy", random, tunnel.uri], check=True, timeout=60)
        after = [daemon.rss() for daemon in (tunnel.source, tunnel.destination)]
        assert all(now - then < 1.5 * 8 * MIB for now, then in zip(after, before, strict=True)), (before, after)
        go.set()
        peer.shutdown(socket.SHUT_WR)
        wait(lambda: got == [sent], 20, "the rest")


def fill(peer: socket.socket) -> int:
    """Write until nothing more is taken for a while; the count of bytes."""
    sent, idle = 0, 0
    pause = threading.Event()
    while idle < 10:
        try:
            sent += peer.send(bytes(MIB))
            idle = 0
        except BlockingIOError:
            pause.wait(0.05)
            idle += 1
    return sent


def test_idle_channels_cost_little(tunnels: Callable[..., Tunnel], directory: Path, tls: Path) -> None:
    count = 500
    with socket.socket(socket.AF_UNIX) as server, ExitStack() as held:
        server.bind(f"{directory / 'many.sock'}")
        server.listen(count)
        server.settimeout(60)
        tunnel = tunnels(directory / "many.sock", tls)
        daemons = (tunnel.source, tunnel.destination)
        before = [daemon.rss() for daemon in daemons]
        for _ in range(count):
            held.enter_context(dial(tunnel.entrance)).sendall(b"hello")
            assert held.enter_context(server.accept()[0]).recv(5) == b"hello"
        each = [(daemon.rss() - then) / count for daemon, then in zip(daemons, before, strict=True)]
        assert all(cost < 100 * 1024 for cost in each), each


def test_sigterm_ends_everything(tunnels: Callable[..., Tunnel], directory: Path) -> None:
    ended = threading.Event()

    def serve(peer: socket.socket) -> None:
        read_all(peer)
        ended.set()

    Listener(directory / "nbd.sock", serve)
    tunnel = tunnels(directory / "nbd.sock")
    with dial(tunnel.entrance) as peer:
        peer.sendall(b"hello")
        wait(lambda: "is open" in tunnel.source.log(), 10, "the channel")
        tunnel.source.signal(signal.SIGTERM)
        tunnel.source.wait_log("shutting down")
        assert tunnel.source.terminate() == 0
        assert not tunnel.entrance.exists()
        assert ended.wait(10)
        assert peer.recv(1) == b""
    tunnel.destination.wait_log("failed: the source was stopped")
    assert tunnel.destination.terminate() == 0


def test_a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not(tunnels: Callable[..., Tunnel], memory: Path) -> None:
    tunnel = tunnels(memory)
    first = tunnel.source
    arguments = ["--connect", "tcp:127.0.0.1:1", "--forward", f"nbd=unix:{tunnel.entrance}"]
    with Twistd(tunnel.directory, "nbdtun-source", *arguments, name="second") as second:
        assert second.wait_exit(20) != 0
        assert f"{tunnel.entrance}: another process is already listening there" in second.log()
        assert "Traceback" not in second.log()
    subprocess.run(["nbdinfo", "--size", tunnel.uri], check=True, capture_output=True)
    first.kill()
    assert tunnel.entrance.exists()
    tunnel.start_source()
    subprocess.run(["nbdinfo", "--size", tunnel.uri], check=True, capture_output=True)


def test_mode_and_owner_of_sockets(tunnels: Callable[..., Tunnel], directory: Path, memory: Path) -> None:
    shared = directory / "shared.sock"
    tunnel = tunnels(memory, source_options=["--forward", f"nbd=unix:{shared}:mode=660", "--socket-owner", "nobody:nogroup"])
    tunnel.source.wait_socket(shared)
    ours, theirs = (os.stat(path) for path in (directory / "in.sock", shared))
    assert [stat.S_IMODE(each.st_mode) for each in (ours, theirs)] == [0o600, 0o660]
    assert {each.st_uid for each in (ours, theirs)} == {65534}


def other_pki(directory: Path) -> Path:
    make(directory, ["127.0.0.1"])
    return directory


@pytest.mark.parametrize(
    ("wrong", "line"),
    [("CA", "signed by"), ("name", "127.0.0.1"), ("client", "refused")],
)
def test_refused_certificates(directory: Path, tls: Path, memory: Path, tmp_path: Path, wrong: str, line: str) -> None:
    here, there = tls, tls
    if wrong == "CA":
        here = other_pki(tmp_path / "other")
    elif wrong == "name":
        there = tmp_path / "name"
        make(there, ["elsewhere.example"])
        here = there
    else:
        here = tmp_path / "client"
        other_pki(here)
        (here / "ca-cert.pem").write_bytes((tls / "ca-cert.pem").read_bytes())
    with Tunnel(directory, memory, there, source_options=["--tls-dir", f"{here}"]) as tunnel, dial(tunnel.entrance) as peer:
        assert peer.recv(1) == b""
        log = tunnel.source.wait_log(line)
        assert "Traceback" not in log + tunnel.destination.log()


def test_the_rate_is_changed_while_it_runs(tunnels: Callable[..., Tunnel], directory: Path, memory: Path, random: Path) -> None:
    """At the rate that it began with, the copy would take more than an hour."""
    tunnel = tunnels(memory, source_options=["--bandwidth", "16KiB"])

    def told(*words: str) -> str:
        run = [f"{BIN}/nbdtun", *words, "--run-dir", f"{tunnel.run_dir}"]
        return subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=True).stdout

    source, destination = f"nbdtun-source (pid {tunnel.source.pid})", f"nbdtun-dest (pid {tunnel.destination.pid})"
    lines = re.sub(r" up [^;]+;", "", told("status")).splitlines()
    lines = [line for line in lines if not line.startswith("  worker ")]  # on a machine of more cores
    there, target, here, forward = sorted(lines, key=lambda line: "nbdtun-source" in line or "unix:" in line)
    assert there.startswith(f"{destination}: listens on tcp:{tunnel.port}:interface=127.0.0.1; no bandwidth limit; no channels")
    assert target == "  target nbd: no channels"
    assert here.startswith(f"{source}: forwards to tcp:127.0.0.1:{tunnel.port}; at most 16 KiB/s; no channels")
    assert forward == f"  unix:{tunnel.entrance} to target nbd: no channels"
    with Process(["nbdcopy", random, tunnel.uri], directory / "copy.log") as copying:
        with pytest.raises(subprocess.TimeoutExpired):
            copying.wait_exit(2)
        assert told("set", f"@{tunnel.source.pid}", "--bandwidth", "none") == f"{source}: no bandwidth limit\n"
        assert copying.wait_exit(60) == 0, copying.log()
    assert "bandwidth is now unlimited" in tunnel.source.log()
    with pytest.raises(subprocess.CalledProcessError) as refused:
        told("cancel", f"@{tunnel.source.pid}")
    assert "a daemon cannot be cancelled; stop it with SIGTERM" in refused.value.stderr
    for daemon in (tunnel.source, tunnel.destination):
        daemon.terminate()
    assert list(tunnel.run_dir.rglob("*")) == []
