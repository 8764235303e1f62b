"""A whole migration while the cable is pulled, for a while or for good, and while daemons die: in each of its phases."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.crossing import PHASES, Attempt, Crossing
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import wait
from lab.tunnel import Tunnel
from tests.integration.outcome import arrived

PLAN = Plan(64 * MIB)
SLOW = 12 * MIB
SHORT = ["--resume-window", "2s", "--link-timeout", "1s"]

#: Whose command is held back so that a phase lasts. Disks and memory need none: they last because the cable is slow.
HELD = {
    "prepare": ("destination", "nbd-server-start"),
    "ready": ("destination", "migrate-incoming"),
    "switchover": ("source", "migrate-continue"),
    "finish": ("destination", "cont"),
}


@dataclass
class UnderWay:
    """A migration that has come to the middle of a phase, and stays there until `go_on`."""

    crossing: Crossing
    attempt: Attempt
    gate: Gate | None

    def go_on(self) -> None:
        """Let the phase end, as far as that is not the cable's part."""
        if self.gate is not None:
            self.gate.open()


@pytest.fixture
def under_way(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> Iterator[Callable[..., UnderWay]]:
    """Begins a migration over a cable, and waits for the middle of a phase: `under_way("ram", options=[...], builds=...)`."""
    with ExitStack() as ended:

        def begin(phase: str, *, options: list[str] | None = None, **how: Any) -> UnderWay:
            pair = pairs(PLAN, **how)
            pair.source.wait_ticks(5)
            monitors = {"source": pair.source.qmp_path, "destination": pair.destination.qmp_path}
            gate = None
            if phase in HELD:
                end, command = HELD[phase]
                gate = ended.enter_context(Gate(pair.directory / "gate.qmp", monitors[end], command))
                monitors[end] = gate.path
            ways, settle = (monitors["source"], monitors["destination"]), "4s" if phase == "settle" else "200ms"
            crossing = crossings(pair, cable=True, qmp=ways, options=options or [], settle=settle)
            attempt = crossing.migrate()
            if gate is not None:
                gate.wait_held()
            elif phase == "settle":
                attempt.wait_phase(phase)
            else:
                crossing.cable.slow(SLOW)
                attempt.wait_phase(phase)
                crossing.cable.wait_bytes(4 * MIB)
            assert attempt.last["phase"] == phase
            return UnderWay(crossing, attempt, gate)

        yield begin


def completed(crossing: Crossing, attempt: Attempt, timeout: float = 120) -> None:
    """It ends well, and nothing is lost."""
    assert attempt.wait_exit(timeout) == 0, attempt.log()
    assert attempt.phases() == [*PHASES, "completed"]
    assert "Traceback" not in attempt.log()
    arrived(crossing)


def failed_and_can_be_tried_again(crossing: Crossing, attempt: Attempt) -> None:
    """The guest runs on at the source, and moves with the next attempt."""
    pair = crossing.pair
    assert attempt.wait_exit(120) == 1, attempt.log()
    assert attempt.last["phase"] == "failed"
    assert pair.disturbance() == []
    assert not pair.both_running()
    wait(lambda: pair.destination.state() == "gone" or pair.destination.leftovers() == [], 60, "the destination's rollback")
    if pair.destination.state() != "gone":
        assert pair.destination.status() == "inmigrate"
    else:
        pair.renew_destination()  # its memory had been asked for
    completed(crossing, crossing.migrate())


@pytest.mark.parametrize("seconds", [pytest.param(0.2, marks=pytest.mark.slow), 2.0, pytest.param(20.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("phase", PHASES)
def test_a_cut(under_way: Callable[..., UnderWay], phase: str, seconds: float) -> None:
    moving = under_way(phase)
    moving.crossing.cable.plug()
    moving.crossing.cable.pull(seconds)
    moving.go_on()
    completed(moving.crossing, moving.attempt)
    assert moving.attempt.last["link"]["resumes"] > 0
    assert moving.attempt.last["link"]["state"] == "up"
    if seconds >= 2 and phase != "switchover":  # there the gate holds the progress back too
        assert any(report["link"]["state"] == "lost" for report in moving.attempt.reports())
    assert any("link lost" in line for line in moving.attempt.complaints())
    assert any("link back" in line for line in moving.attempt.complaints())


def test_silence_is_said_before_the_link_is_lost_and_one_cut_is_one(under_way: Callable[..., UnderWay]) -> None:
    moving = under_way("mirror")
    cable = moving.crossing.cable
    cable.plug()
    cable.stall()
    wait(lambda: any(report["link"]["state"] == "silent" for report in moving.attempt.reports()), 15, "silence", moving.attempt)
    cable.cut()
    cable.plug()
    moving.go_on()
    completed(moving.crossing, moving.attempt)
    silent = [report for report in moving.attempt.reports() if report["link"]["state"] == "silent"]
    assert 3 <= silent[0]["link"]["silent_for"] < 8
    away = [report for report in moving.attempt.reports() if report["link"]["state"] in ("silent", "lost")]
    assert {(report["rate"], report["eta"]) for report in away} == {(None, None)}
    assert moving.attempt.last["link"]["outages"] == 1
    assert moving.attempt.last["link"]["sent"] > 0


def test_a_link_that_is_given_up_is_not_up(under_way: Callable[..., UnderWay]) -> None:
    moving = under_way("mirror", options=["--resume-window", "3s"])
    moving.crossing.cable.pull()
    assert moving.attempt.wait_exit(60) == 1
    reports = moving.attempt.reports()
    lost = next(number for number, report in enumerate(reports) if report["link"]["state"] == "lost")
    assert "up" not in {report["link"]["state"] for report in reports[lost:]}
    assert [report["phase"] for report in reports[-2:]] == ["rollback", "failed"]
    assert reports[-2]["link"]["state"] == "given up"


@pytest.mark.parametrize("trouble", ["stall", "one way", "linger"])
def test_a_link_that_dies_without_a_word(under_way: Callable[..., UnderWay], trouble: str) -> None:
    moving = under_way("mirror", options=["--link-timeout", "1s"])
    cable = moving.crossing.cable
    cable.plug()
    if trouble == "linger":
        cable.linger()
    else:
        cable.stall("down" if trouble == "one way" else "both")
    moving.attempt.wait_log("link lost")
    if trouble != "linger":
        cable.plug()
    completed(moving.crossing, moving.attempt)
    assert moving.attempt.last["link"]["resumes"] > 0


LONG = [pytest.param(phase, marks=[] if phase == "mirror" else pytest.mark.slow) for phase in PHASES if phase not in ("finish", "settle")]


@pytest.mark.parametrize("phase", LONG)
def test_longer_than_the_resume_window(under_way: Callable[..., UnderWay], phase: str) -> None:
    moving = under_way(phase, options=SHORT)
    moving.crossing.cable.pull()
    moving.go_on()
    assert moving.attempt.wait_exit(120) == 1, moving.attempt.log()
    (line,) = [line for line in moving.attempt.complaints() if "link" not in line or "no new link" in line]
    assert "no new link within 2 s" in line or "nobody listens there" in line  # of the memory, or of a disk that QEMU connects again
    moving.crossing.cable.plug()
    failed_and_can_be_tried_again(moving.crossing, moving.attempt)


def test_longer_than_the_resume_window_at_the_end_but_back_in_time(under_way: Callable[..., UnderWay]) -> None:
    """The channel that asked is gone; over a new one it is learned what became of the VM."""
    moving = under_way("finish", options=SHORT)
    moving.crossing.cable.pull()
    moving.crossing.daemon.wait_log("no new link within 2 s", 30)
    moving.go_on()
    moving.crossing.pair.destination.wait_status("running")
    moving.crossing.cable.plug()
    completed(moving.crossing, moving.attempt)


def unknown(moving: UnderWay) -> None:
    """The cable is gone for good while the destination takes over: what came of it cannot be known here, so it must not run here."""
    moving.crossing.cable.pull()
    moving.crossing.daemon.wait_log("no new link within 2 s", 30)
    assert moving.attempt.wait_exit(120) == 3, moving.attempt.log()
    assert moving.attempt.last["phase"] == "unknown"
    assert "The source stays paused" in moving.attempt.complaints()[-1]
    assert "Traceback" not in moving.attempt.log()
    assert moving.crossing.pair.source.status() in ("paused", "postmigrate")


def test_an_unknown_outcome_turns_out_well(under_way: Callable[..., UnderWay]) -> None:
    moving = under_way("finish", options=SHORT)
    pair = moving.crossing.pair
    unknown(moving)
    moving.go_on()
    pair.destination.wait_ticks(5)
    assert not pair.both_running()
    moving.crossing.cable.plug()
    resolving = moving.crossing.migrate("--resolve")
    assert resolving.wait_exit(60) == 0, resolving.log()
    pair.source.wait_exit()
    pair.destination.wait_ticks(5)
    assert pair.faults() == []
    assert moving.crossing.leftovers() == []


@pytest.mark.slow
def test_an_unknown_outcome_still_unknown(under_way: Callable[..., UnderWay]) -> None:
    moving = under_way("finish", options=SHORT)
    unknown(moving)
    again = moving.crossing.migrate("--resolve")
    assert again.wait_exit(120) == 3, again.log()
    assert moving.crossing.pair.source.status() in ("paused", "postmigrate")


@pytest.mark.slow
def test_an_unknown_outcome_turns_out_badly(under_way: Callable[..., UnderWay]) -> None:
    """The guest never came to run there; it goes on here."""
    moving = under_way("finish", options=SHORT)
    crossing = moving.crossing
    unknown(moving)
    crossing.daemon.kill()  # before QEMU has heard of `cont`
    crossing.start_daemon()
    crossing.cable.plug()
    resolving = crossing.migrate("--resolve")
    assert resolving.wait_exit(60) == 1, resolving.log()
    assert "did not arrive" in resolving.complaints()[-1]
    assert crossing.pair.disturbance() == []
    crossing.pair.destination.wait_exit()


def test_the_destinations_daemon_dies_while_disks_are_copied(under_way: Callable[..., UnderWay]) -> None:
    """The one that is started in its place is found, and takes the session over."""
    moving = under_way("mirror")
    crossing = moving.crossing
    crossing.daemon.kill()
    time.sleep(2)
    crossing.start_daemon()
    crossing.cable.plug()
    completed(crossing, moving.attempt)
    assert "the destination's daemon was restarted; copying the disks continues" in moving.attempt.log()


@pytest.mark.parametrize("which", ["native_qemu", pytest.param("recent_qemu", marks=pytest.mark.slow)])
def test_the_destinations_daemon_dies_while_memory_is_copied(
    request: pytest.FixtureRequest, under_way: Callable[..., UnderWay], which: str
) -> None:
    """The memory's stream cannot be dialled again; the guest runs on, and moves with the next attempt."""
    build = request.getfixturevalue(which)
    moving = under_way("ram", builds=(build, build))
    crossing = moving.crossing
    crossing.cable.plug()
    crossing.daemon.kill()
    time.sleep(2)
    crossing.start_daemon()
    failed_and_can_be_tried_again(crossing, moving.attempt)


@pytest.mark.parametrize("which", ["native_qemu", pytest.param("recent_qemu", marks=pytest.mark.slow)])
def test_every_byte_of_the_memory_arrives(
    request: pytest.FixtureRequest, pairs: Callable[..., Pair], crossings: Callable[..., Crossing], which: str
) -> None:
    """With the cable pulled, and what the guest changes sent again and again; both are compared before it runs on."""
    build = request.getfixturevalue(which)
    pair = pairs(PLAN, builds=(build, build))
    pair.source.wait_ticks(5)
    with Gate(pair.directory / "gate.qmp", pair.destination.qmp_path, "cont") as gate:
        crossing = crossings(pair, cable=True, qmp=(pair.source.qmp_path, gate.path))
        crossing.cable.slow(32 * MIB)
        attempt = crossing.migrate("--downtime", "2ms")
        attempt.wait_phase("ram")
        for seconds in (0.3, 1.0):
            crossing.cable.wait_bytes(8 * MIB)
            crossing.cable.pull(seconds)
        gate.wait_held()
        assert pair.stale_pages() == []
        gate.open()
        completed(crossing, attempt)


def test_the_source_command_dies(under_way: Callable[..., UnderWay]) -> None:
    """It cannot roll back any more; the guest runs on all the same, and the next attempt clears what it left."""
    moving = under_way("mirror")
    crossing = moving.crossing
    crossing.cable.plug()
    moving.attempt.kill()
    assert crossing.pair.source.ticking()
    completed(crossing, crossing.migrate())


@pytest.mark.parametrize("victim", ["destination", "source"])
def test_a_forwarding_daemon_dies_while_somebody_elses_mirror_runs(
    pairs: Callable[..., Pair], directory: Path, tls: Path, victim: str
) -> None:
    """QEMU dials again by itself (`reconnect-delay`), and what was under way is sent again."""
    pair = pairs(PLAN)
    pair.source.wait_ticks(5)
    server = directory / "nbd.sock"
    there, here = pair.destination.qmp, pair.source.qmp
    there("nbd-server-start", addr={"type": "unix", "data": {"path": f"{server}"}})
    there("block-export-add", type="nbd", id="vda", node_name="vda", name="vda", writable=True)
    with Tunnel(directory, server, tls) as tunnel:
        way = {"type": "unix", "path": f"{tunnel.entrance}"}
        here("blockdev-add", driver="nbd", node_name="far", server=way, export="vda", **{"reconnect-delay": 60})
        here("blockdev-mirror", job_id="copy", device="vda", target="far", sync="full", speed=16 * MIB)
        wait(lambda: here("query-block-jobs")[0]["offset"] > 8 * MIB, 60, "the middle of the mirror", pair.source)
        if victim == "destination":
            tunnel.destination.kill()
            time.sleep(2)
            tunnel.start_destination()
        else:
            tunnel.source.kill()
            time.sleep(2)
            tunnel.start_source()
        assert here("query-block-jobs")[0]["offset"] < 64 * MIB
        here.wait_event("BLOCK_JOB_READY", 120, device="copy")
        pair.source.wait_ticks(5)
        here("stop")
        here("block-job-cancel", device="copy")
        assert "error" not in here.wait_event("BLOCK_JOB_COMPLETED", 60, device="copy")["data"]
        here("blockdev-del", node_name="far")
    there("nbd-server-stop")
    assert pair.faults() == []
