"""One command, and nothing at the far end but ssh, QEMU and nbdtun: the destination is made from the source."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lab.daemon import free_port
from lab.process import Process, wait
from lab.qemu import Build
from lab.qmp import Qmp
from lab.sshd import SSHD
from nbdtun.migration.rollback.presence import lives
from tests.integration.host import files, write
from tests.integration.lines import LINES
from tests.integration.two_hosts import Hosts, two_hosts

pytestmark = pytest.mark.skipif(not os.path.exists(SSHD), reason="openssh-server is not installed")


@pytest.fixture
def hosts(directory: Path, native_qemu: Build) -> Iterator[Hosts]:
    yield from two_hosts(directory, native_qemu)


@pytest.fixture(params=["native_qemu", pytest.param("recent_qemu", marks=pytest.mark.slow)])
def either(request: pytest.FixtureRequest, directory: Path) -> Iterator[Hosts]:
    yield from two_hosts(directory, request.getfixturevalue(request.param))


def test_a_vm_moves_by_one_command(either: Hosts) -> None:
    source = either.start(LINES["drive"])
    told = json.loads(either.run("plan", "--json").stdout)
    assert (told["fit"], told["directories"]) == (True, [f"{either.there}"])
    done = either.migrate()
    assert done.returncode == 0, done.stderr
    source.wait_exit(20)
    qmp = Qmp(either.there / "lab.qmp")
    assert qmp("query-status")["status"] == "running"
    assert qmp("query-version")["qemu"]["major"] == either.build.version[0]
    qmp("quit")
    wait(lambda: not (either.there / "qemu.pid").exists(), 10, "the destination's end")
    subprocess.run(["qemu-img", "compare", either.here / "a.qcow2", either.there / "a.qcow2"], check=True, capture_output=True)


def test_what_is_lacking_is_one_line_and_nothing_is_left(hosts: Hosts) -> None:
    hosts.start(LINES["luns"])
    before = files(hosts.here)
    checked = hosts.run("check")
    assert "failure  place                -drive cd:" in checked.stdout, checked.stdout
    done = hosts.migrate()
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2  # the way, and the error
    assert f"-drive cd: {hosts.there}/cd.iso is not there" in done.stderr
    assert not hosts.there.exists()
    assert [name for name in files(hosts.here) if name not in before] == []


def test_check_and_migrate_say_the_same_of_a_place_that_is_taken(hosts: Hosts) -> None:
    hosts.start(LINES["drive"])
    hosts.there.mkdir()
    (hosts.there / "a.qcow2").write_bytes(b"somebody's")
    told = f"{hosts.there}/a.qcow2 is there already, and not empty"
    assert told in hosts.run("check").stdout
    done = hosts.migrate()
    assert (done.returncode, told in done.stderr.splitlines()[-1]) == (1, True), done.stderr
    assert (hosts.there / "a.qcow2").read_bytes() == b"somebody's"


def test_check_and_migrate_say_the_same_of_a_device_that_was_plugged_in(hosts: Hosts) -> None:
    hosts.start(LINES["drive"].replace("q35", "pc"))
    Qmp(hosts.here / "lab.qmp")("device_add", driver="virtio-rng-pci", id="late")
    told = "-device late: it was plugged in since QEMU's start"
    assert told in hosts.run("check").stdout
    done = hosts.migrate()
    assert (done.returncode, told in done.stderr.splitlines()[-1]) == (1, True), done.stderr


def test_check_and_migrate_say_the_same_of_a_host_that_ssh_cannot_reach(hosts: Hosts) -> None:
    hosts.start(LINES["drive"])
    nowhere = f"ssh://127.0.0.1:{free_port()}"
    told = "Connection refused"
    assert told in hosts.run("check", "--to", nowhere).stdout
    done = hosts.migrate("--to", nowhere)
    assert (done.returncode, told in done.stderr.splitlines()[-1]) == (1, True), done.stderr


@pytest.mark.slow
def test_a_migration_that_fails_leaves_nothing_there_and_a_second_try_works(hosts: Hosts) -> None:
    source = hosts.start(LINES["drive"])
    done = hosts.migrate("--bandwidth", "100KiB", "--timeout", "2s")
    assert done.returncode == 1, done.stderr
    assert not hosts.there.exists()
    assert Qmp(hosts.here / "lab.qmp")("query-status")["status"] == "running"
    done = hosts.migrate()
    assert done.returncode == 0, done.stderr
    source.wait_exit(20)
    Qmp(hosts.there / "lab.qmp")("quit")
    wait(lambda: not (hosts.there / "qemu.pid").exists(), 10, "the destination's end")


def test_a_killed_far_end_is_in_nobodys_way(hosts: Hosts) -> None:
    """Both ends were killed when QEMU had just been started; a second try removes what was left, and moves the VM."""
    source = hosts.start(LINES["drive"])
    attempt = hosts.begin("--resume-window", "2s")
    wait(lambda: bool(hosts.record().get("process")), 60, "a QEMU there", attempt)
    attempt.kill()
    hosts.kill_the_far_end()
    assert len(hosts.record()["images"]) == 1
    left = hosts.record()["process"]
    assert lives(left)
    _arrives(hosts, source)
    assert not lives(left)


@pytest.fixture
def little(hosts: Hosts) -> Iterator[Path]:
    """The destination's directory, on a file system of its own with 40 MiB."""
    hosts.there.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "little", hosts.there], check=True)
    yield hosts.there
    subprocess.run(["umount", "--lazy", hosts.there], check=True)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="a file system of its own takes root")
@pytest.mark.parametrize("way", [[], ["--through-ssh"]], ids=["port", "ssh"])
def test_the_disk_there_becomes_full_while_it_is_copied(hosts: Hosts, little: Path, way: list[str]) -> None:
    """Somebody else writes there meanwhile. The guest stays, in one line; once there is room, a second try moves it."""
    write(hosts.here / "a.qcow2", "qcow2", 0x44, 4)
    write(hosts.here / "a.qcow2", "qcow2", 0x45, 8)
    source = hosts.start(LINES["drive"])
    attempt = hosts.begin("--bandwidth", "512KiB", *way)
    hosts.wait_copying(attempt)
    other = little / "somebody's"
    with suppress(OSError), other.open("wb", buffering=0) as file:
        while file.write(bytes(1 << 16)):
            pass
    assert attempt.wait_exit(60) == 1, attempt.log()
    *told, last = attempt.log().splitlines()
    assert "No space left on device" in last, attempt.log()
    assert [line for line in told if "No space" in line] == []
    assert Qmp(hosts.here / "lab.qmp")("query-status")["status"] == "running"
    assert hosts.leftovers() == []
    assert files(little) == [other.name]
    refused = hosts.migrate()
    assert (refused.returncode, "MiB are free" in refused.stderr.splitlines()[-1]) == (1, True), refused.stderr
    other.unlink()
    _arrives(hosts, source)
    assert hosts.leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["source", "far", "both"])
@pytest.mark.parametrize("way", [[], ["--through-ssh"]], ids=["port", "ssh"])
def test_an_end_is_killed_while_the_disk_is_copied(hosts: Hosts, killed: str, way: list[str]) -> None:
    """The guest stays, the other end ends by itself, long before the resume window, and a second try moves the VM."""
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write -P 68 0 20M", hosts.here / "a.qcow2"], check=True, capture_output=True)
    source = hosts.start(LINES["drive"])
    window = [] if killed == "far" else ["--resume-window", "2s"]  # nobody tells a far end that its source was killed
    attempt = hosts.begin("--bandwidth", "512KiB", *window, *way)
    hosts.wait_copying(attempt)
    if killed != "far":
        attempt.kill()
    if killed != "source":
        hosts.kill_the_far_end()
    if killed == "far":
        assert attempt.wait_exit(60) == 1, attempt.log()
        assert "nothing receives web1 there any more" in attempt.log().splitlines()[-1]
    if killed == "source":
        wait(lambda: not hosts.far_ends(), 60, "the end of the far end")
    if killed != "both":
        assert not hosts.there.exists()
    assert Qmp(hosts.here / "lab.qmp")("query-status")["status"] == "running"
    _arrives(hosts, source)
    assert hosts.leftovers() == []


@pytest.mark.slow
@pytest.mark.parametrize("noted", [True, False], ids=["outcome", "record"])
def test_it_is_resolved_after_both_ends_were_killed(hosts: Hosts, noted: bool) -> None:
    """The guest runs in the QEMU that was made. A new far end knows that by the outcome, or finds its monitor by the record."""
    source = hosts.start(LINES["drive"])
    attempt = hosts.begin("--settle", "60s")
    wait(lambda: (hosts.there / "lab.qmp").exists(), 60, "a QEMU there", attempt)
    qmp = Qmp(hosts.there / "lab.qmp")
    wait(lambda: qmp("query-status")["status"] == "running", 60, "the guest there", attempt)
    if noted:
        wait(lambda: any(hosts.sshd.run_dir.rglob("web1.outcome")) and not hosts.record(), 10, "the outcome", attempt)
    hosts.kill_the_far_end()
    attempt.kill()
    done = hosts.migrate("--resolve")
    assert done.returncode == 0, done.stderr
    source.wait_exit(20)
    assert qmp("query-status")["status"] == "running"
    qmp("quit")
    wait(lambda: not (hosts.there / "qemu.pid").exists(), 10, "the destination's end")
    assert hosts.leftovers() == []


@pytest.mark.slow
def test_what_a_guest_may_have_run_on_stays(hosts: Hosts) -> None:
    """QEMU was ended by hand, and its image holds something by then."""
    hosts.start(LINES["drive"])
    attempt = hosts.begin("--resume-window", "2s")
    wait(lambda: bool(hosts.record().get("process")) and (hosts.there / "lab.qmp").exists(), 60, "a QEMU there", attempt)
    attempt.kill()  # it would have it removed
    hosts.kill_the_far_end()
    Qmp(hosts.there / "lab.qmp")("quit")
    wait(lambda: not (hosts.there / "qemu.pid").exists(), 10, "the destination's end")
    write(hosts.there / "a.qcow2", "qcow2", 0x33, 2)
    done = hosts.migrate()
    assert done.returncode == 1
    assert f"web1: an earlier far end was killed and has left {hosts.there}/a.qcow2, which stays" in done.stderr
    assert (hosts.there / "a.qcow2").exists()
    (hosts.there / "a.qcow2").unlink()
    assert hosts.migrate().returncode == 0
    Qmp(hosts.there / "lab.qmp")("quit")


def _arrives(hosts: Hosts, source: Process) -> None:
    """The VM moves now, its disk is the same there, and no record is left."""
    done = hosts.migrate()
    assert done.returncode == 0, done.stderr
    source.wait_exit(20)
    qmp = Qmp(hosts.there / "lab.qmp")
    assert qmp("query-status")["status"] == "running"
    qmp("quit")
    wait(lambda: not (hosts.there / "qemu.pid").exists(), 10, "the destination's end")
    wait(lambda: hosts.record() == {}, 10, "the end of the record")
    subprocess.run(["qemu-img", "compare", hosts.here / "a.qcow2", hosts.there / "a.qcow2"], check=True, capture_output=True)
