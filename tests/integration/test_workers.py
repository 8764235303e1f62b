"""`--workers N`: processes that have a daemon's channels, beside the one that has everything else."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.daemon import BIN, Daemon, Twistd
from lab.disks import MIB
from lab.ends import Ends, passes
from lab.process import Process, wait
from lab.programs import Programs, alive
from nbdtun.reach.pushing.executable import find
from tests.integration.streams import count, send
from tests.integration.workers import Make, spread, staffed
from tests.tls.stage.certificates import revoke_client


@pytest.fixture
def ends(directory: Path, tls: Path) -> Iterator[Make]:
    yield from staffed(directory, tls)


def test_channels_are_spread_and_outlive_their_links(ends: Make) -> None:
    """Links land on each worker, at both ends, and are cut again and again; the last byte of each channel arrives."""
    these = ends(daemon=Twistd)
    channels = [these.meet() for _ in range(6)]
    for _ in range(5):
        assert all(passes(*each) for each in channels)
        these.cut()
    assert all(passes(*each) for each in channels)
    for kind in ("nbdtun-dest", "nbdtun-source"):
        report = these.report(kind)
        assert (report["channels"], report["links"], spread(report)) == (6, 6, [2, 2, 2])
        assert report["links_lost"] >= 6
    for near, far in channels:
        near.sendall(b"the last of it")
        near.shutdown(socket.SHUT_WR)
        assert far.recv(20, socket.MSG_WAITALL) == b"the last of it"
        far.close()
        assert near.recv(1) == b""
    these.source.wait_log("is complete: ")
    wait(lambda: these.report("nbdtun-dest")["channels"] == 0, 10, "the end of all channels")
    log = these.dest.log()
    assert log.count("is complete") == 6
    assert "failed" not in log + these.source.log()
    assert log.count("link back") >= 6, "the workers' lines are in the daemon's log"


@pytest.mark.slow
def test_workers_of_a_single_file(ends: Make, directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
        assert spread(these.report(kind)) == [2, 2]
        for worker in these.report(kind)["workers"]:
            words = Path(f"/proc/{worker['pid']}/cmdline").read_text().split("\0")
            assert words[0] == python
            assert words[5].startswith(f"{tmp_path}/nbdtun/")
    Programs(directory / "run").replace()
    assert all(passes(*each) for each in [*channels, these.meet()])


@pytest.mark.slow
def test_a_limit_holds_to_the_channel(ends: Make, directory: Path) -> None:
    """Whichever worker has them: four channels, and not a fifth; as soon as one has ended, there is room for one."""
    these = ends("--resume-window", "60s", source=("--max-channels", "100"))
    with ExitStack() as stack:
        these.configure("max-channels-per-peer = 4")
        assert Programs(directory / "run").command("reload", f"@{these.dest.pid}").returncode == 0
        for _ in range(3):
            channels = [these.meet() for _ in range(4)]
            for _ in range(3):
                assert stack.enter_context(these.connect()).recv(1) == b""
            assert these.report("nbdtun-dest")["sources"][0]["channels"] == 4
            channels[0][0].close()
            assert channels[0][1].recv(1) == b""
            channels[0][1].close()
            wait(lambda: these.report("nbdtun-dest")["channels"] == 3, 10, "the end of a channel")
            channels[0] = these.meet()
            assert all(passes(*each) for each in channels)
            for each in channels:
                each[0].close()
                each[1].close()
            wait(lambda: these.report("nbdtun-dest")["channels"] == 0, 10, "the end of all channels")
    assert these.source.log().count("its limit of 4 channels for this source (--max-channels-per-peer)") == 9


def test_a_worker_is_not_told_of_a_thousand_forwards(ends: Make, directory: Path) -> None:
    """A message between the processes has at most 64 KiB."""
    these = ends(source=[f"--forward=a=unix:{directory}/{n:050d}" for n in range(1000)])
    assert passes(*these.meet())
    assert spread(these.report("nbdtun-source")) == [0, 0, 1]


@pytest.mark.slow
def test_without_a_descriptor_a_worker_takes_no_other_channels_socket(ends: Make) -> None:
    """The channel that it cannot have fails by name; those that come later have their own sockets, and links."""
    these = ends(workers=2)
    channels = [these.meet()]
    workers = these.pids("nbdtun-dest")
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


@pytest.mark.slow
def test_a_program_that_is_replaced_keeps_its_workers(ends: Make) -> None:
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
    workers = these.pids("nbdtun-dest")
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
def test_one_bandwidth_for_all_workers(ends: Make) -> None:
    """Four channels on four workers of the source; together they send what one may, also after the limit has changed."""
    these = ends("--bandwidth", "10MiB", workers=4)
    channels = [these.meet() for _ in range(4)]
    assert spread(these.report("nbdtun-source")) == [1, 1, 1, 1]
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
def test_five_hundred_idle_channels_are_small(ends: Make) -> None:
    """On four workers at either end: less than 100 KiB each, all processes of an end together."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        these = ends(workers=4)
        channels = [these.meet() for _ in range(20)]  # with what the first ones load
        pids = {kind: [daemon.pid, *these.pids(kind)] for kind, daemon in both(these)}
        before = {kind: sum(map(held, pids[kind])) for kind in pids}
        channels += [these.meet() for _ in range(480)]
        wait(lambda: these.report("nbdtun-source")["links"] == 500, 30, "all links")
        time.sleep(12)  # what belongs to an opening has a timer of 10 s
        for kind, those in pids.items():
            assert spread(these.report(kind)) == [125, 125, 125, 125]
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
