"""`nbdtun reload --program`: a daemon's program is replaced, as often as one likes, and nothing that is under way is lost."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.daemon import free_port, listening
from lab.disks import MIB
from lab.ends import Ends, passes
from lab.process import wait
from lab.programs import Programs, alive
from tests.integration.streams import count, send


def test_channels_outlive_their_program(ends: Callable[..., Ends], programs: Callable[..., Programs]) -> None:
    """Three programs, a channel of each, and every link is cut; then each ends with its last channel, and what remains is one daemon."""
    these, those = ends(), programs("run")
    channels = [these.meet()]
    pids = [these.dest.pid]
    for _ in range(2):
        pids.append(those.replace())
        channels.append(these.meet())
        these.cut()
        assert all(passes(*each) for each in channels)
    status = those.command("status").stdout
    assert f"nbdtun-dest (pid {pids[0]}): was replaced by process {pids[1]}, and keeps what it has until that ends" in status
    assert f"nbdtun-dest (pid {pids[2]}): listens on tcp:{these.port}" in status
    assert those.running == sorted(pids)
    refused = those.command("reload", "--program", f"@{pids[0]}")
    assert (refused.returncode, refused.stderr) == (1, f"nbdtun: this program was replaced; ask @{pids[1]} [migration]\n")
    for each in channels[0]:
        each.close()
    wait(lambda: those.running == sorted(pids[1:]), 15, "the end of the first program")
    assert these.dest.wait_exit(5) == 0
    assert all(passes(*each) for each in channels[1:])
    assert "failed" not in these.source.log()
    those.end()


def test_a_program_that_does_not_take_over_changes_nothing(ends: Callable[..., Ends], programs: Callable[..., Programs]) -> None:
    """It has a mistake in its file, or cannot go on with links; or it is killed after it took over. The one before it accepts again."""
    these, those = ends(), programs("run")
    channel = these.meet()
    for mistake in ("lsten = 1", 'records = "library"'):
        these.configure(mistake)
        refused = those.command("reload", "--program", f"@{these.dest.pid}")
        assert refused.returncode == 1
        assert "the new program ended before it took over; nothing has changed; the daemon's log has its reason" in refused.stderr
        wait(lambda: those.running == [these.dest.pid], 10, "the end of the new program")
        assert passes(*channel)
        assert passes(*these.meet())
    assert "there is no option lsten" in these.dest.log()
    assert "TLS records are made by OpenSSL (--records library)" in these.dest.log()
    these.configure()
    later = those.replace()
    os.kill(later, signal.SIGKILL)
    these.dest.wait_log(f"process {later}, which had taken over, is gone: this program accepts connections again")
    these.cut()
    assert passes(*channel)
    assert passes(*these.meet())
    again = those.replace()
    newer = these.meet()
    assert those.running == sorted([these.dest.pid, again])
    os.kill(these.dest.pid, signal.SIGKILL)  # its channels end with it, by name
    these.source.wait_log("of this source (any more); was its daemon restarted?")
    assert channel[0].recv(1) == b""
    assert passes(*newer)
    those.end()


def test_one_daemon_is_told_once(ends: Callable[..., Ends], programs: Callable[..., Programs]) -> None:
    """Its limit holds for all its programs, those to come as well; and if one of them hangs, the answer says so."""
    these, those = ends(), programs("run")
    channel = these.meet()
    newest = those.replace()
    told = those.command("set", f"@{newest}", "--bandwidth", "5MiB")
    assert (told.returncode, told.stdout.count("\n")) == (0, 1)
    refused = those.command("set", f"@{these.dest.pid}", "--bandwidth", "6MiB")
    assert (refused.returncode, refused.stderr) == (1, f"nbdtun: nbdtun-dest: this program was replaced; ask @{newest} [migration]\n")
    newest = those.replace()
    assert rates(those) == {5 * MIB}
    these.configure('bandwidth = "7MiB"\nallow = ["dns:nobody"]')
    assert "took allow, bandwidth" in those.command("reload", f"@{newest}").stdout
    assert rates(those) == {7 * MIB}
    os.kill(these.dest.pid, signal.SIGSTOP)
    told = those.command("set", f"@{newest}", "--bandwidth", "8MiB")
    os.kill(these.dest.pid, signal.SIGCONT)
    assert told.returncode == 0
    missed = f"process {these.dest.pid}, which was replaced, may not have taken it: the program before this one has not answered Obey"
    assert told.stdout.splitlines()[1].startswith(missed)
    these.configure('bandwidth = "9MiB"')
    those.replace()
    wait(lambda: rates(those) == {9 * MIB}, 10, "the limit of the new program's file, in all of them")
    assert passes(*channel)
    those.end()


def rates(those: Programs, kind: str = "nbdtun-dest") -> set[int]:
    """The limits of all programs."""
    reports = [json.loads(line) for line in those.command("status", "--json").stdout.splitlines()]
    return {each["bandwidth"] for each in reports if each["name"] == kind}


@pytest.mark.slow
def test_one_in_the_middle_is_killed(ends: Callable[..., Ends], programs: Callable[..., Programs]) -> None:
    """Its own channel ends by name. The newest program asks the oldest itself; and so after another one in the middle was killed."""
    these, those = ends(), programs("run")
    oldest = these.meet()
    for _ in range(2):
        middle = those.replace()
        own = these.meet()
        newest = those.replace()
        os.kill(middle, signal.SIGKILL)
        these.dest.wait_log(
            f"process {middle} is gone, through which lost links came back here: from now on they come through process {newest}"
        )
        these.source.wait_log("of this source (any more); was its daemon restarted?")
        assert own[0].recv(1) == b""
        these.cut()
        assert passes(*oldest)
        assert passes(*these.meet())
        assert len(those.running) >= 2
    os.kill(newest, signal.SIGKILL)
    these.cut()
    assert passes(*oldest)
    those.end()


@pytest.mark.slow
def test_two_at_the_same_moment(ends: Callable[..., Ends], programs: Callable[..., Programs]) -> None:
    """One of them replaces the program, and the other says so."""
    these, those = ends(), programs("run")
    channel = these.meet()
    with ThreadPoolExecutor() as pool:
        both = [*pool.map(lambda _: those.command("reload", "--program", f"@{these.dest.pid}"), range(2))]
    assert sorted(each.returncode for each in both) == [0, 1]
    (refused,) = [each.stderr for each in both if each.returncode]
    assert refused.startswith(("nbdtun: this program is being replaced", "nbdtun: this program was replaced; ask @"))
    these.cut()
    assert passes(*channel)
    assert passes(*these.meet())
    assert len(those.running) == 2
    those.end()


@pytest.mark.slow
def test_a_hundred_channels_are_passed_on_at_once(ends: Callable[..., Ends], programs: Callable[..., Programs], tls: Path) -> None:
    """Then the old process has no descriptor left for some seconds: they wait for it, and none gets another one's connection."""
    these, those = ends("--tls-dir", f"{tls}", "--resume-window", "60s"), programs("run")
    channels = [these.meet() for _ in range(100)]
    those.replace()
    these.cut()
    assert all(passes(*each) for each in channels)
    limits = resource.prlimit(these.dest.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(these.dest.pid, resource.RLIMIT_NOFILE, (0, limits[1]))
    these.cut()
    these.dest.wait_log("its descriptor has not arrived: that process has no descriptor left for it", 30)
    assert passes(*these.meet())
    resource.prlimit(these.dest.pid, resource.RLIMIT_NOFILE, limits)
    for number, (near, far) in enumerate(channels):
        near.sendall(b"%03d" % number)
        assert far.recv(3) == b"%03d" % number
    assert "failed" not in these.source.log()
    those.end()


@pytest.mark.slow
def test_another_port(ends: Callable[..., Ends], programs: Callable[..., Programs], directory: Path) -> None:
    """Sources that have channels know the old one: it stays open until they have ended, through another reload."""
    these, those = ends(), programs("run")
    old, port = these.meet(), free_port()
    these.configure(port=port)
    those.replace()
    assert listening(port)
    these.cut()
    assert passes(*old)
    those.replace()
    these.cut()
    assert passes(*old)
    assert listening(these.port)
    for each in old:
        each.close()
    wait(lambda: len(those.running) == 1, 20, "the end of the programs that have nothing")
    wait(lambda: not listening(these.port), 5, "the end of the port that was kept for them")
    assert listening(port)
    those.end()


#: A new program hangs when it is started.
HANG = """
import os, time
while "NBDTUN_HERITAGE" in os.environ and os.path.exists(f"{os.path.dirname(__file__)}/hang"):
    time.sleep(0.1)
"""


@pytest.mark.slow
def test_a_program_that_hangs_at_its_start(
    ends: Callable[..., Ends], programs: Callable[..., Programs], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is ended, and nothing has changed. If the daemon is stopped meanwhile, it is ended as well."""
    (directory / "sitecustomize.py").write_text(HANG)
    (directory / "hang").touch()
    monkeypatch.setenv("PYTHONPATH", f"{directory}")
    these, those = ends(), programs("run")
    channel = these.meet()
    with ThreadPoolExecutor() as pool:
        asking = pool.submit(those.command, "reload", "--program", f"@{these.dest.pid}")
        wait(lambda: len(those.running) == 2, 10, "the new program")
        assert passes(*channel)
        assert passes(*these.meet())
        refused = asking.result(60)
        late = "nbdtun: the new program has not taken over within 30 s; nothing has changed; the daemon's log has its reason [migration]\n"
        assert (refused.returncode, refused.stderr) == (1, late)
        wait(lambda: those.running == [these.dest.pid], 10, "the end of the new program")
        asking = pool.submit(those.command, "reload", "--program", f"@{these.dest.pid}")
        wait(lambda: len(those.running) == 2, 10, "the new program")
        these.dest.terminate()
        wait(lambda: not those.running, 10, "the end of both")
        assert asking.result(60).returncode == 1


def test_a_sources_channels_outlive_their_program(ends: Callable[..., Ends], programs: Callable[..., Programs]) -> None:
    """The old process dials for its own; local programs connect to the new one, and its limits count them all."""
    these, those = ends(), programs("run")
    (these.directory / "source.toml").write_text("max-channels-per-user = 2\n")
    old = these.meet()
    newer = programs("run", "nbdtun-source").replace()
    new = these.meet()
    these.cut()
    assert passes(*old)
    assert passes(*new)
    third = these.connect()
    assert third.recv(1) == b""  # a third one of this user
    these.source.wait_log("its limit of 2 channels for one local user (--max-channels-per-user)")
    (these.directory / "source.toml").write_text('max-channels-per-user = 2\nbandwidth = "5MiB"\n')
    os.kill(newer, signal.SIGHUP)
    wait(lambda: rates(those, "nbdtun-source") == {5 * MIB}, 10, "the limit of both programs")
    for each in old:
        each.close()
    assert these.source.wait_exit(15) == 0
    assert passes(*new)
    assert passes(*these.meet())
    os.kill(newer, signal.SIGTERM)
    wait(lambda: not alive(newer), 15, "the end of the new program")
    assert not (these.directory / "here").exists()
    those.end()


@pytest.mark.slow
def test_one_bandwidth_for_all_programs(ends: Callable[..., Ends], programs: Callable[..., Programs], tls: Path) -> None:
    """A channel of each of two programs at the source; together they send what one may."""
    these, those = ends("--tls-dir", f"{tls}", "--bandwidth", "20MiB"), programs("run")
    channels = [these.meet()]
    sources = programs("run", "nbdtun-source")
    sources.replace()
    channels.append(these.meet())
    got, stop = [0, 0], threading.Event()
    threads = [threading.Thread(target=send, args=(near, stop)) for near, _ in channels]
    threads += [threading.Thread(target=count, args=(far, got, number)) for number, (_, far) in enumerate(channels)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    began, before = time.monotonic(), sum(got)
    time.sleep(3)
    rate = (sum(got) - before) / (time.monotonic() - began)
    stop.set()
    for end in (each for pair in channels for each in pair):
        end.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(20)
    assert rate == pytest.approx(20 * MIB, rel=0.05)
    assert min(got) > MIB
    sources.end()
    those.end()


#: Notes each import of a process that begins while the file `flag` is there.
WATCH = """
import os, sys
def hook(event, arguments, here=os.path.dirname(__file__)):
    if event == "import" and os.path.exists(f"{here}/flag"):
        with open(f"{here}/late.{os.getpid()}", "a") as late:
            late.write(f"{arguments[0]}\\n")
sys.addaudithook(hook)
"""


@pytest.mark.slow
def test_an_old_program_loads_nothing_that_may_be_of_another_release(
    ends: Callable[..., Ends], programs: Callable[..., Programs], directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files on disk are the next release's, while it goes on for hours."""
    (directory / "sitecustomize.py").write_text(WATCH)
    monkeypatch.setenv("PYTHONPATH", f"{directory}")
    these, those = ends(), programs("run")
    old = these.meet()
    those.replace()
    these.cut()
    assert passes(*old)
    assert those.command("status").returncode == 0
    for each in old:
        each.close()
    assert these.dest.wait_exit(15) == 0
    late = directory / f"late.{these.dest.pid}"
    assert not late.exists(), late.read_text()
    assert list(directory.glob("late.*"))  # the others are noted, the new program's for example
    those.end()
