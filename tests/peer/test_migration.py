"""A VM moves with its disk and memory: from our source to a real daemon, and from the real command to our destination."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.cable import Cable
from lab.crossing import Attempt, Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import wait
from lab.qmp import Qmp
from tests.integration.outcome import arrived
from tests.peer import messages
from tests.peer.control import Conversation
from tests.peer.destination import Destination
from tests.peer.messages import Refused, Value
from tests.peer.receiver import Receiver
from tests.peer.sender import Sender
from tests.peer.source import Source

SMALL = Plan(32 * MIB)
LARGE = Plan(128 * MIB)
SLOW = 12 * MIB

WAYS = [
    pytest.param(SMALL, True, id="tls-cut"),
    pytest.param(SMALL, False, id="plain-cut", marks=pytest.mark.slow),
    pytest.param(LARGE, True, id="large-tls-cut", marks=pytest.mark.slow),
    pytest.param(LARGE, False, id="large-plain-cut", marks=pytest.mark.slow),
]


def sender(crossing: Crossing, secured: Path | None, qmp: Qmp | None = None) -> Sender:
    """Our source for the VM of a pair."""
    return Sender(qmp or Qmp(crossing.pair.source.qmp_path), Source(crossing.cable.port, secured), crossing.directory)


@pytest.mark.parametrize(("plan", "secure"), WAYS)
def test_our_source(pairs: Callable[..., Pair], tls: Path, plan: Plan, secure: bool) -> None:
    """The cable is cut while the disk is copied, while the memory is, and before the handover."""
    pair = pairs(plan)
    secured = tls if secure else None
    with Crossing(pair, secured, cable=True) as crossing:
        pair.source.wait_ticks(5)
        ours = sender(crossing, secured)
        ours.prepare()
        crossing.cable.cut_after(4 * MIB)
        ours.mirror()
        ours.listen()
        crossing.cable.cut_after(2 * MIB)
        ours.send_memory()
        crossing.cable.cut()
        ours.switch_over()
        assert pair.destination.status() != "running"
        crossing.cable.cut()
        ours.finish()
        assert ours.settle() == "arrived"
        ours.end()
        assert crossing.cable.counters().accepted > 6
        last = pair.source.ticks()
        pair.source.quit()
        assert pair.destination.wait_ticks(5) > last or last == 0
        arrived(crossing)


@pytest.fixture
def ours(pairs: Callable[..., Pair], tls: Path) -> Iterator[Callable[..., tuple[Pair, Receiver, Destination]]]:
    """Makes a pair whose destination we serve: `ours(SMALL, secure=True)`."""
    made: list[Destination] = []

    def make(*plans: Plan, secure: bool) -> tuple[Pair, Receiver, Destination]:
        pair = pairs(*plans)
        made.append(Destination(tls if secure else None))
        return pair, Receiver(Qmp(pair.destination.qmp_path), made[-1], pair.directory), made[-1]

    yield make
    for each in made:
        each.__exit__()


def command(pair: Pair, port: int, tls: Path | None, *more: str) -> Attempt:
    """`nbdtun migrate` to a port."""
    secured = ["--tls-dir", f"{tls}"] if tls else []
    ways = ["--qmp", f"{pair.source.qmp_path}", "--to", f"tcp:127.0.0.1:{port}", "--run-dir", f"{pair.directory}/run"]
    return Attempt(pair.directory, "web1", *ways, *secured, "--settle", "200ms", *more)


@pytest.mark.parametrize(("plan", "secure"), WAYS)
def test_our_destination(ours: Callable[..., tuple[Pair, Receiver, Destination]], tls: Path, plan: Plan, secure: bool) -> None:
    pair, receiver, destination = ours(plan, secure=secure)
    pair.source.wait_ticks(5)
    with Cable(pair.directory, destination.port) as cable, command(pair, cable.port, tls if secure else None) as attempt:
        cable.cut_after(4 * MIB)
        attempt.wait_phase("ready")
        cable.cut_after(2 * MIB)
        attempt.wait_phase("switchover")
        cable.cut()
        assert attempt.wait_exit(120) == 0, attempt.log()
        assert attempt.last["link"]["resumes"] > 0
    assert [name for name, _ in receiver.asked if name != "Ping"] == ["Prepare", "Listen", "Finish", "Settle"]
    assert receiver.state == "finished"
    pair.source.wait_exit()
    pair.destination.wait_ticks(5)
    assert pair.faults() == []
    assert pair.destination.leftovers() == []


@pytest.mark.slow
def test_our_destination_undoes(ours: Callable[..., tuple[Pair, Receiver, Destination]], tls: Path) -> None:
    """The command is interrupted while it copies the disk."""
    pair, receiver, destination = ours(LARGE, secure=True)
    pair.source.wait_ticks(5)
    with command(pair, destination.port, tls, "--bandwidth", "8MiB") as attempt:
        attempt.wait_copied(4 * MIB)
        attempt.terminate(60)
        assert attempt.last["phase"] == "cancelled"
    wait(lambda: receiver.state == "aborted", 20, "the end of the session")
    assert pair.disturbance() == []
    assert pair.destination.leftovers() == []


def refused(talk: Conversation, command: str, **fields: Value) -> str:
    """The code that a question is refused with."""
    with pytest.raises(Refused) as refusal:
        talk.ask(command, **fields)
    return refusal.value.code


def test_the_talk_before_a_migration(pairs: Callable[..., Pair], tls: Path) -> None:
    """Commands at the wrong time, of sessions that nobody knows, and of later releases; one that is begun is undone with its channel."""
    pair = pairs(SMALL)
    with Crossing(pair, tls, cable=True) as crossing:
        monitor = Qmp(pair.source.qmp_path)
        ours = sender(crossing, tls, monitor)
        first = ours.prepare(later=b"\0", lowest=1, highest=7, features="x-fast")
        assert (first["version"], first["features"]) == (b"1", b"")
        talk, own = ours.control, {"session": ours.session, **ours.secrets()}
        assert talk.ask("Ping") == {"_answer": b"2"}
        assert refused(talk, "Finish", run=True, settle=0, **own) == "not-migratable"
        assert refused(talk, "Prepare", **own, **ours.prepare_fields()) == "not-migratable"
        assert refused(talk, "Listen", session="0" * 32, bitmaps=[]) == "destination"
        assert refused(talk, "Abort", session="0" * 32, bitmaps=[]) == "destination"
        assert refused(talk, "Later") == "UNHANDLED"
        other = Conversation(Source(crossing.port, tls).open("control"))
        assert messages.text(other.ask("Query", session="0" * 32, vm="web1"), "state") == "unknown"
        assert messages.text(other.ask("Query", vm="web1", **own), "state") == "prepared"
        assert refused(other, "Prepare", session="1" * 32, **ours.secrets(), **ours.prepare_fields()) == "not-migratable"
        assert refused(other, "Query", session="x", vm="web1") == "protocol"
        other.wait_ended()
        ours.end()
        wait(lambda: pair.destination.leftovers() == [], 20, "the end of the session")
        started = time.monotonic()
        again = sender(crossing, tls, monitor)
        again.prepare()
        own = {"session": again.session, **again.secrets()}
        assert again.control.ask("Abort", **own)["state"] == b"aborted"
        assert refused(again.control, "Listen", bitmaps=[], **own) == "not-migratable"
        assert again.settle() in ("gone", "fresh")
        again.end()
        assert time.monotonic() - started < 60
