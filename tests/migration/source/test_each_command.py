"""A migration on paper whose QEMUs refuse, hang at, or die of each command that it asks; what must hold is the same each time."""

from __future__ import annotations

from typing import Any

import pytest

from nbdtun.errors import CommandFailed, GuestLost, MonitorLost, NbdtunError, OutcomeUnknown
from nbdtun.migration.progress import Progress
from tests.migration.stage.verdicts import assert_moved, with_bitmaps


def commands(end: str) -> list[str]:
    """Every command that a good migration asks of that QEMU, once each."""
    stage = with_bitmaps()
    assert isinstance(stage.outcome(stage.start()), Progress)
    return list(dict.fromkeys(getattr(stage, end).asked))


@pytest.mark.parametrize("command", [name for name in commands("source") if name not in ("quit", "query-migrate")])
def test_a_command_that_the_source_refuses(command: str) -> None:
    stage = with_bitmaps()
    stage.source.fails[command] = CommandFailed(f"web1: QEMU refused {command}: because")
    migration = stage.start()
    stage.turn(1)
    outcome = stage.outcome(migration)
    stage.source.fails.clear()
    if isinstance(outcome, Progress):  # a command without which it can do
        assert_moved(stage, outcome)
        return
    assert "because" in str(outcome)
    assert stage.running() == ["web1"] or "could not let the guest run on" in str(outcome)


@pytest.mark.parametrize("command", commands("destination"))
def test_a_command_that_the_destination_refuses(command: str) -> None:
    stage = with_bitmaps()
    stage.destination.fails[command] = CommandFailed(f"web1 at the destination: QEMU refused {command}: because")
    outcome = stage.outcome(stage.start())
    if isinstance(outcome, Progress):  # a command without which it can do
        assert stage.running() == ["web1 at the destination"]
        return
    assert "because" in str(outcome)
    assert stage.running() == ["web1"]
    assert [line for line in stage.leftovers() if "destination" not in line and "NBD" not in line] == []


@pytest.mark.parametrize("command", commands("destination"))
@pytest.mark.parametrize("how", ["hang", "die"])
def test_the_destination_qemu_hangs_or_dies_at(command: str, how: str) -> None:
    stage = with_bitmaps()
    if how == "hang":
        stage.destination.hangs.add(command)
    else:
        stage.destination.fails[command] = MonitorLost("web1 at the destination: QEMU closed its monitor")
        original = stage.destination._answer

        def answer(asked: str, arguments: dict[str, Any], /) -> Any:
            result = original(asked, arguments)
            if asked == command:
                stage.clock.callLater(0, stage.destination.die)
            return result

        stage.destination._answer = answer  # type: ignore[method-assign]
    outcome = stage.outcome(stage.start())
    if isinstance(outcome, OutcomeUnknown):
        assert command == "cont"  # it may have run
        assert stage.running() == []
        assert stage.source.state == "postmigrate"
    elif isinstance(outcome, Progress):
        assert stage.running() in (["web1 at the destination"], [])  # it died after it had taken over
    elif isinstance(outcome, GuestLost):
        assert command == "announce-self"  # it has run, and died of something at once
        assert stage.running() == []
    else:
        assert stage.running() == ["web1"]
        assert isinstance(outcome, NbdtunError)
        assert "destination" in str(outcome)


@pytest.mark.parametrize("command", [name for name in commands("source") if name != "quit"])
def test_the_source_qemu_hangs_at(command: str) -> None:
    stage = with_bitmaps()
    stage.source.hangs.add(command)
    migration = stage.start()
    outcome = stage.outcome(migration)
    if isinstance(outcome, Progress):
        assert stage.running() == ["web1 at the destination"]
    else:
        assert isinstance(outcome, NbdtunError)
        assert "web1 at the destination" not in stage.running()


@pytest.mark.parametrize("command", [name for name in commands("source") if name != "quit"])
def test_the_source_qemu_dies_at(command: str) -> None:
    stage = with_bitmaps()
    original = stage.source._answer

    def answer(asked: str, arguments: dict[str, Any], /) -> Any:
        if asked == command:
            stage.source.die()
        return original(asked, arguments)

    stage.source._answer = answer  # type: ignore[method-assign]
    outcome = stage.outcome(stage.start())
    if isinstance(outcome, Progress):
        assert stage.running() == ["web1 at the destination"]
    else:
        assert stage.running() == []
        assert stage.leftovers() == []
