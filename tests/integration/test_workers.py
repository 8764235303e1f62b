"""`--workers N`: processes that have a daemon's channels, beside the one that has everything else."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.crossing import Crossing
from lab.daemon import BIN, Daemon, Twistd
from lab.disks import MIB
from lab.ends import Ends, passes
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import Process, wait
from lab.programs import Programs, alive
from nbdtun.reach.pushing.executable import find
from tests.integration.outcome import arrived, stayed
from tests.integration.streams import count, send
from tests.tls.stage.certificates import revoke_client

Make = Callable[..., Ends]


@pytest.fixture
def ends(directory: Path, tls: Path) -> Iterator[Make]:
    """With three workers at the destination."""
    with ExitStack() as ended:

        def make(*options: str, workers: int = 3, tls_dir: Path = tls, **more: Any) -> Ends:
            return Ends(directory, ended, "--tls-dir", f"{tls_dir}", "--workers", f"{workers}", *options, **more)

        yield make


@pytest.fixture
def reports(directory: Path) -> Callable[[str], dict[str, Any]]:
    """What `nbdtun status` says of a daemon, by its kind."""

    def report(kind: str) -> dict[str, Any]:
        told = Programs(directory / "run").command("status", "--json")
        return next(each for each in map(json.loads, told.stdout.splitlines()) if each["name"] == kind)

    return report


def spread(report: dict[str, Any]) -> list[int]:
    """How many channels each worker has that lives."""
    return sorted(len(each["channels"]) for each in report["workers"] if each["ended"] is None)


def test_channels_are_spread_and_outlive_their_links(ends: Make, reports: Callable[[str], Any]) -> None:
    """Links land on each worker, at both ends, and are cut again and again; the last byte of each channel arrives."""
    these = ends(daemon=Twistd)
    channels = [these.meet() for _ in range(6)]
    for _ in range(5):
        assert all(passes(*each) for each in channels)
        these.cut()
    assert all(passes(*each) for each in channels)
    for kind in ("nbdtun-dest", "nbdtun-source"):
        report = reports(kind)
        assert (report["channels"], report["links"], spread(report)) == (6, 6, [2, 2, 2])
        assert report["links_lost"] >= 6
    for near, far in channels:
        near.sendall(b"the last of it")
        near.shutdown(socket.SHUT_WR)
        assert far.recv(20, socket.MSG_WAITALL) == b"the last of it"
        far.close()
        assert near.recv(1) == b""
    these.source.wait_log("is complete: ")
    wait(lambda: reports("nbdtun-dest")["channels"] == 0, 10, "the end of all channels")
    log = these.dest.log()
    assert log.count("is complete") == 6
    assert "failed" not in log + these.source.log()
    assert log.count("link back") >= 6, "the workers' lines are in the daemon's log"


@pytest.mark.slow
def test_workers_of_a_single_file(
    ends: Make, reports: Callable[[str], Any], directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come out of the same file, by the same Python, which has nothing of nbdtun's itself."""
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}")
    executable, python = tmp_path / "nbdtun.pyz", os.path.realpath(sys.executable)
    executable.write_bytes(find().content)

    class Single(Daemon):
        def __init__(self, directory: Path, plugin: str, *arguments: str) -> None:
            Process.__init__(self, [python, "-I", executable, plugin.removeprefix("nbdtun-"), *arguments], directory / f"{plugin}.log")

    these = ends(workers=2, daemon=Single)
    channels = [these.meet() for _ in range(4)]
    these.cut()
    assert all(passes(*each) for each in channels)
    for kind in ("nbdtun-dest", "nbdtun-source"):
        assert spread(reports(kind)) == [2, 2]
        for worker in reports(kind)["workers"]:
            words = Path(f"/proc/{worker['pid']}/cmdline").read_text().split("\0")
            assert words[0] == python
            assert words[5].startswith(f"{tmp_path}/nbdtun/")
    Programs(directory / "run").replace()
    assert all(passes(*each) for each in [*channels, these.meet()])


@pytest.mark.slow
def test_a_limit_holds_to_the_channel(ends: Make, reports: Callable[[str], Any], directory: Path) -> None:
    """Whichever worker has them: four channels, and not a fifth; as soon as one has ended, there is room for one."""
    these = ends("--resume-window", "60s", source=("--max-channels", "100"))
    with ExitStack() as stack:
        these.configure("max-channels-per-peer = 4")
        assert Programs(directory / "run").command("reload", f"@{these.dest.pid}").returncode == 0
        for _ in range(3):
            channels = [these.meet() for _ in range(4)]
            for _ in range(3):
                assert stack.enter_context(these.connect()).recv(1) == b""
            assert reports("nbdtun-dest")["sources"][0]["channels"] == 4
            channels[0][0].close()
            assert channels[0][1].recv(1) == b""
            channels[0][1].close()
            wait(lambda: reports("nbdtun-dest")["channels"] == 3, 10, "the end of a channel")
            channels[0] = these.meet()
            assert all(passes(*each) for each in channels)
            for each in channels:
                each[0].close()
                each[1].close()
            wait(lambda: reports("nbdtun-dest")["channels"] == 0, 10, "the end of all channels")
    assert these.source.log().count("its limit of 4 channels for this source (--max-channels-per-peer)") == 9


def test_a_worker_is_not_told_of_a_thousand_forwards(ends: Make, reports: Callable[[str], Any], directory: Path) -> None:
    """A message between the processes has at most 64 KiB."""
    these = ends(source=[f"--forward=a=unix:{directory}/{n:050d}" for n in range(1000)])
    assert passes(*these.meet())
    assert spread(reports("nbdtun-source")) == [0, 0, 1]


@pytest.mark.slow
def test_without_a_descriptor_a_worker_takes_no_other_channels_socket(ends: Make, reports: Callable[[str], Any]) -> None:
    """The channel that it cannot have fails by name; those that come later have their own sockets, and links."""
    these = ends(workers=2)
    channels = [these.meet()]
    workers = [each["pid"] for each in reports("nbdtun-dest")["workers"]]
    soft, hard = resource.prlimit(workers[0], resource.RLIMIT_NOFILE)
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))
    refused, _ = these.meet()
    assert refused.recv(1) == b""
    these.source.wait_log("its descriptor has not arrived: that process has no descriptor left for it")
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    channels += [these.meet() for _ in range(3)]
    these.cut()
    assert all(passes(*each) for each in channels)


@pytest.mark.parametrize("kind", ["nbdtun-dest", pytest.param("nbdtun-source", marks=pytest.mark.slow)])
def test_a_killed_worker_ends_its_channels_by_name(ends: Make, reports: Callable[[str], Any], kind: str) -> None:
    """A source that asks for one is told so; the others go on, and another worker takes its place."""
    these = ends()
    channels = [these.meet() for _ in range(6)]
    assert all(passes(*each) for each in channels)
    killed = next(each for each in reports(kind)["workers"] if each["channels"])
    os.kill(killed["pid"], signal.SIGKILL)
    daemon = these.dest if kind == "nbdtun-dest" else these.source
    how = f"worker {killed['pid']}, which had it, has ended (killed by SIGKILL) [reset]"
    for name in killed["channels"]:
        daemon.wait_log(f"channel {name} failed: {how}")
    daemon.wait_log(f"worker {killed['pid']} has ended (killed by SIGKILL), and with it 2 channels")
    other = these.source if kind == "nbdtun-dest" else these.dest
    for name in killed["channels"]:
        other.wait_log(f"channel {name} failed: {how}")
    left = [each for each in channels if not ended(each[0])]
    assert len(left) == 4
    assert all(passes(*each) for each in left)
    wait(lambda: len(spread(reports(kind))) == 3, 20, "another worker")
    gone = next(each for each in reports(kind)["workers"] if each["ended"])
    assert gone == {"pid": killed["pid"], "ended": "killed by SIGKILL", "channels": killed["channels"]}
    told = Programs(these.directory / "run").command("status", f"@{daemon.pid}").stdout
    assert f"worker {killed['pid']} has ended (killed by SIGKILL), and with it {', '.join(killed['channels'])}" in told
    left += [these.meet(), these.meet()]
    these.cut()
    assert all(passes(*each) for each in left)
    assert spread(reports(kind)) == [2, 2, 2]
    workers = [each["pid"] for each in reports(kind)["workers"]]
    os.kill(daemon.pid, signal.SIGKILL)
    wait(lambda: not any(map(alive, workers)), 10, "the end of its workers, too")


def ended(near: socket.socket) -> bool:
    """Whether a program's connection was closed; it is within a second, if it is to be."""
    near.settimeout(1)
    try:
        return near.recv(1) == b""
    except TimeoutError:
        return False
    finally:
        near.settimeout(20)


@pytest.mark.slow
def test_a_program_that_is_replaced_keeps_its_workers(ends: Make, reports: Callable[[str], Any]) -> None:
    """Links that are lost come back to the new program, and through the old one to its workers; a source's workers dial."""
    these = ends(workers=2)
    dest, source = Programs(these.directory / "run"), Programs(these.directory / "run", "nbdtun-source")
    channels = [these.meet() for _ in range(4)]
    for _ in range(2):
        dest.replace()
        source.replace()
        channels += [these.meet() for _ in range(2)]
        these.cut()
        assert all(passes(*each) for each in channels)
    workers = [each["pid"] for each in reports("nbdtun-dest")["workers"]]
    for each in channels[:4]:
        each[0].close()
        each[1].close()
    assert these.dest.wait_exit(20) == 0
    assert these.source.wait_exit(20) == 0
    assert all(passes(*each) for each in channels[4:])
    assert "failed" not in these.dest.log()
    source.end()
    dest.end()
    wait(lambda: not any(map(alive, workers)), 10, "the end of the workers")


@pytest.mark.slow
def test_what_is_revoked_ends_on_every_worker_and_what_is_renewed_serves(ends: Make, tls: Path, tmp_path: Path) -> None:
    """Four workers: the standing links of a revoked certificate end, and the renewed one of the same name takes their channels up."""
    own = Path(shutil.copytree(tls, tmp_path / "tls"))
    there = Path(shutil.copytree(tls, tmp_path / "there"))
    these = ends("--resume-window", "60s", workers=4, tls_dir=own, source=("--tls-dir", f"{there}"))
    channels = [these.meet() for _ in range(4)]
    assert all(passes(*each) for each in channels)
    revoke_client(own)
    lost = "link lost (the other end: its certificate has been revoked, says the destination's ca-crl.pem"
    wait(lambda: these.dest.log().count(lost) == 4, 20, "the end of all links")
    renew(own, there)
    assert all(passes(*each) for each in channels)


def renew(own: Path, there: Path) -> None:
    """Another certificate for the source, of the same name."""
    subprocess.run([BIN / "nbdtun", "certs", own, "--host", "127.0.0.1", "--force"], check=True, stdout=subprocess.DEVNULL)
    for name in ("client-key.pem", "client-cert.pem"):
        shutil.copy(own / name, there / f"{name}.new")
        (there / f"{name}.new").replace(there / name)


def test_records_that_cannot_be_passed_are_refused(directory: Path, tls: Path) -> None:
    words = ["--listen", "tcp:127.0.0.1:0", "--target", "a=unix:/run/a", "--tls-dir", f"{tls}", "--workers", "3", "--records", "library"]
    refused = subprocess.run([f"{BIN}/nbdtun", "dest", *words], capture_output=True, text=True, timeout=20, cwd=directory)
    assert (refused.returncode, refused.stderr) == (
        2,
        "nbdtun: --workers 3: its TLS records are made by OpenSSL (--records library), and links cannot be passed to another process; "
        "leave out one of the two [config]\n",
    )


@pytest.mark.slow
def test_one_bandwidth_for_all_workers(ends: Make, reports: Callable[[str], Any]) -> None:
    """Four channels on four workers of the source; together they send what one may, also after the limit has changed."""
    these = ends("--bandwidth", "10MiB", workers=4)
    channels = [these.meet() for _ in range(4)]
    assert spread(reports("nbdtun-source")) == [1, 1, 1, 1]
    got, stop = [0] * 4, threading.Event()
    threads = [threading.Thread(target=send, args=(near, stop)) for near, _ in channels]
    threads += [threading.Thread(target=count, args=(far, got, number)) for number, (_, far) in enumerate(channels)]
    for thread in threads:
        thread.start()
    rates = []
    for limit in (10, 20):
        Programs(these.directory / "run").command("set", f"@{these.source.pid}", "--bandwidth", f"{limit}MiB")
        time.sleep(1)
        began, before = time.monotonic(), sum(got)
        time.sleep(4)
        rates.append((sum(got) - before) / (time.monotonic() - began) / MIB)
    stop.set()
    for end in (each for pair in channels for each in pair):
        end.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(20)
    assert rates == [pytest.approx(10, rel=0.05), pytest.approx(20, rel=0.05)]
    assert min(got) > MIB


@pytest.mark.slow
def test_five_hundred_idle_channels_are_small(ends: Make, reports: Callable[[str], Any]) -> None:
    """On four workers at either end: less than 100 KiB each, all processes of an end together."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        these = ends(workers=4)
        channels = [these.meet() for _ in range(20)]  # with what the first ones load
        pids = {kind: [daemon.pid, *(each["pid"] for each in reports(kind)["workers"])] for kind, daemon in both(these)}
        before = {kind: sum(map(held, pids[kind])) for kind in pids}
        channels += [these.meet() for _ in range(480)]
        wait(lambda: reports("nbdtun-source")["links"] == 500, 30, "all links")
        time.sleep(12)  # what belongs to an opening has a timer of 10 s
        for kind, those in pids.items():
            assert spread(reports(kind)) == [125, 125, 125, 125]
            assert (sum(map(held, those)) - before[kind]) / 480 < 100, kind
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def both(these: Ends) -> tuple[tuple[str, Twistd], ...]:
    """Both daemons."""
    return ("nbdtun-dest", these.dest), ("nbdtun-source", these.source)


def held(pid: int) -> int:
    """KiB of memory that a process has for itself, and its part of what it shares."""
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in fields if line.startswith("Pss:"))


def hosting(crossing: Crossing) -> list[dict[str, Any]]:
    """The workers of the destination's daemon that have a channel."""
    (report,) = (json.loads(line) for line in crossing.command("status", "--json", far=True).stdout.splitlines())
    return [each for each in report["workers"] if each["channels"] and each["ended"] is None]


def carries(crossing: Crossing, kind: str) -> bool:
    """Whether one of them has a channel of this kind."""
    return any(name.startswith(f"{kind}.") for each in hosting(crossing) for name in each["channels"])


@pytest.mark.slow
@pytest.mark.parametrize("held", ["mirror", "ram", "nbd-server-start", "migrate-incoming", "cont"])
def test_a_worker_killed_in_each_phase(held: str, pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    """Before the disks, while they are copied, before the memory, with it, at the handover: the guest runs on at one end, whole."""
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks(5)
    flowing = {"mirror": "nbd", "ram": "ram"}.get(held)
    with Gate(pair.directory / "gate.qmp", pair.destination.qmp_path, "no such command" if flowing else held) as gate:
        crossing = crossings(pair, qmp=(pair.source.qmp_path, gate.path), daemon_options=["--workers", "3"])
        attempt = crossing.migrate("--bandwidth", "16MiB")
        if flowing:
            wait(lambda: carries(crossing, flowing), 60, f"a channel of {flowing}", attempt)
        else:
            gate.wait_held()
        for each in hosting(crossing):
            os.kill(each["pid"], signal.SIGKILL)
        gate.open()
        status = attempt.wait_exit(180)
        assert status in (0, 1), attempt.log()
        (arrived if status == 0 else stayed)(crossing)
        if held != "mirror":  # its disk may be copied by another connection; but its memory may have begun, too
            assert status == (1 if held in ("ram", "migrate-incoming") else 0), attempt.log()
