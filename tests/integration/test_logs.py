"""One migration is followed at both hosts by its id, in JSON: whether a command or a daemon moves the VM."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lab.crossing import PHASES, VM, Crossing
from lab.daemon import Command, listening
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import Process, wait
from nbdtun.logs import KEYS

JSON = ("--log-format", "json")


@pytest.fixture
def serving(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> Iterator[tuple[Crossing, Process]]:
    """A destination whose daemon logs JSON, and that daemon."""
    crossing = crossings(pairs(Plan(8 * MIB)))
    crossing.daemon.terminate()
    with Command(directory / "dest.log", "dest", *crossing.daemon_arguments(*JSON)) as daemon:
        wait(lambda: listening(crossing.port), 20, "the daemon", daemon)
        yield crossing, daemon


def events(process: Process) -> list[dict[str, Any]]:
    """All lines of a process; each is an object."""
    return [json.loads(line) for line in process.log().splitlines()]


def followed(source: Process, destination: Process) -> list[dict[str, Any]]:
    """The migration's lines of the source, found by its id; the destination has lines with it, too."""
    (session,) = {event["session"] for event in events(source) if "session" in event}
    here, there = ([event for event in events(end) if event.get("session") == session] for end in (source, destination))
    assert {event["vm"] for event in here if "channel" not in event} == {VM}
    phases = [event["phase"] for event in here if "phase" in event]
    assert [phase for number, phase in enumerate(phases) if phase not in phases[:number]] == [*PHASES, "completed"]
    assert f"{VM}: session {session} finished" in [event["text"] for event in there]
    assert any("channel" in event and "peer" in event for event in there)
    assert all(event[key] not in (None, "") for event in here + there for key in KEYS if key in event)
    return here


def test_a_command_and_a_daemon(serving: tuple[Crossing, Process]) -> None:
    crossing, daemon = serving
    attempt = crossing.migrate(*JSON)
    assert attempt.wait_exit(60) == 0, attempt.log()
    crossing.pair.destination.wait_ticks(5)
    (session,) = {event["session"] for event in followed(attempt, daemon)}
    assert {report["session"] for report in attempt.reports()} <= {"", session}
    assert attempt.last["session"] == session


def test_a_command_that_fails_says_so_under_the_same_id(serving: tuple[Crossing, Process]) -> None:
    crossing, daemon = serving
    attempt = crossing.migrate(*JSON, "--bandwidth", "1MiB")
    attempt.wait_phase("mirror")
    assert crossing.command("cancel", VM).returncode == 0
    assert attempt.wait_exit(60) == 130
    last = [event for event in events(attempt) if event.get("session")][-1]
    assert (last["vm"], last["phase"]) == (VM, "cancelled")
    assert any(event.get("session") == last["session"] for event in events(daemon))


@pytest.mark.slow
def test_two_daemons(serving: tuple[Crossing, Process], directory: Path) -> None:
    crossing, daemon = serving
    with ExitStack() as ended:
        source = ended.enter_context(Command(directory / "source.log", "source", *crossing.service_arguments(*JSON)))
        assert source.wait_exit(60) == 0, source.log()
        crossing.pair.destination.wait_ticks(5)
        followed(source, daemon)
