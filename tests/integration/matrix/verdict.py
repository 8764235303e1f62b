"""What must be true after a cell, whatever it was: how many copies run, nothing lost, nothing left behind, and a second attempt works."""

from __future__ import annotations

from lab import ticks
from lab.crossing import Attempt
from lab.process import wait
from tests.integration.matrix.cell import Cell
from tests.integration.matrix.expectations import End, Outcome
from tests.integration.matrix.faults import Fault

CLEANING_SECONDS = 30


def judge(cell: Cell, fault: Fault, outcome: Outcome) -> None:
    """The migration was struck; look at its end, mend what was broken, and move the VM all the same."""
    status = cell.attempt.wait_exit(fault.timeouts)
    assert not cell.pair.both_running()
    assert status == outcome.status, f"exit status {status}: {cell.attempt.log()}"
    _one_line(cell.attempt, outcome)
    fault.mend(cell)
    cell.open()
    cell.crossing.cable.plug()
    assert not cell.pair.both_running()
    ENDS[outcome.end](cell, outcome)
    _nothing_left(cell)


def _one_line(attempt: Attempt, outcome: Outcome) -> None:
    """The operator reads one line that says it."""
    assert "Traceback" not in attempt.log()
    if outcome.status == -9:
        return
    assert outcome.says in attempt.log(), attempt.log()
    if outcome.end is not End.MOVES and outcome.status != 130:
        assert outcome.says in attempt.complaints()[-1]
        assert attempt.last["phase"] == {End.PAUSED: "unknown", End.LOST: "lost"}.get(outcome.end, "failed")


def _moves(cell: Cell, outcome: Outcome) -> None:
    cell.pair.destination.wait_ticks(3)
    if outcome.hand == "quit":
        assert cell.pair.source.state() in ("paused", "postmigrate", "gone")
        cell.pair.source.kill()
    wait(lambda: not cell.pair.source.running(), 40, "the source's end")
    assert cell.pair.faults() == []
    wait(lambda: cell.pair.destination.leftovers() == [], CLEANING_SECONDS, f"a clean destination: {cell.pair.destination.leftovers()}")


def _stays(cell: Cell, outcome: Outcome) -> None:
    """The guest runs on at the source as before, has never run at the destination, and moves with the next attempt."""
    found = [line for line in cell.pair.disturbance() if not (outcome.later and _ours(line))]
    assert found == []
    if outcome.hand == "quit there":
        cell.pair.renew_destination()
    elif not outcome.later:
        _destination_is_clean(cell, outcome.fresh)
    again = cell.again()
    assert again.wait_exit(120) == 0, again.log()
    _moves(cell, outcome)


def _ours(line: str) -> bool:
    return "nbdtun-" in line or line.startswith("node #block")  # the filter of a mirror has a name of QEMU's making


def _destination_is_clean(cell: Cell, fresh: bool) -> None:
    """A QEMU whose memory was asked for has ended; any other one waits as before, and is used again."""
    destination = cell.pair.destination
    assert destination.ticks() == 0
    if fresh:
        wait(lambda: not destination.running(), CLEANING_SECONDS, "the end of the destination's QEMU")
        cell.pair.renew_destination()
        return
    wait(lambda: destination.leftovers() == [], CLEANING_SECONDS, f"a clean destination: {destination.leftovers()}", destination)
    assert destination.status() == "inmigrate"


def _left(cell: Cell, outcome: Outcome) -> None:
    """Nobody rolls back; the next attempt finds out what is going on, and ends it one way or the other."""
    if outcome.hand == "--resolve":
        cell.pair.destination.wait_ticks(1)
        resolving = cell.crossing.migrate("--resolve")  # whoever is started next clears away what a killed process has left
        assert resolving.wait_exit(120) == 0 or not cell.pair.source.running(), resolving.log()
        _moves(cell, outcome)
        return
    again = cell.again()
    status = again.wait_exit(180)
    if status == 1 and not cell.pair.destination.running():  # its one chance was used up
        cell.pair.renew_destination()
        again = cell.again()
        status = again.wait_exit(120)
    assert status == 0, again.log()
    _moves(cell, outcome)


def _gone(cell: Cell, outcome: Outcome) -> None:
    """The VM is nowhere, as it would be without a migration; its disk is whole, and it can be started again, and moved."""
    source = cell.pair.source
    source.wait_exit()
    for drive in source.drives:
        assert ticks.lost(drive.disk.ticks(), source.ticks()) == []
    _destination_is_clean(cell, outcome.fresh)
    cell.pair.renew_source()
    cell.pair.source.wait_ticks(1)
    again = cell.again()
    assert again.wait_exit(120) == 0, again.log()
    _moves(cell, outcome)


def _paused(cell: Cell, outcome: Outcome) -> None:
    """It is nowhere running, or at the destination only; `--resolve` finds out, and leaves one."""
    assert cell.pair.source.status() in ("paused", "postmigrate")
    resolving = cell.crossing.migrate("--resolve")
    status = resolving.wait_exit(120)
    if outcome.hand == "cont":
        assert status == 3, resolving.log()
        assert cell.pair.destination.state() == "gone"
        assert cell.pair.destination.ticks() == 0
        cell.pair.source.qmp("cont")
        status = 1
    if status == 1 and not cell.pair.destination.running():  # it has not arrived, and never will
        assert cell.pair.disturbance() == []
        cell.pair.renew_destination()
        again = cell.again()
        status = again.wait_exit(120)
    assert status == 0, resolving.log()
    _moves(cell, outcome)


def _lost(cell: Cell, outcome: Outcome) -> None:
    """The guest is dead there; QEMU is ended, and the source goes on from the handover. Then it moves with the next attempt."""
    pair = cell.pair
    assert pair.source.status() == "postmigrate"
    if pair.destination.running():
        pair.destination.kill()
    pair.source.qmp("cont")
    pair.source.wait_ticks(2)
    pair.renew_destination()
    again = cell.again()
    assert again.wait_exit(120) == 0, again.log()
    _moves(cell, outcome)


ENDS = {End.MOVES: _moves, End.STAYS: _stays, End.LEFT: _left, End.GONE: _gone, End.PAUSED: _paused, End.LOST: _lost}


def _nothing_left(cell: Cell) -> None:
    """Sockets and directories of both ends; processes are looked for after every test."""
    left = cell.crossing.leftovers()
    assert left == []
    assert "Traceback" not in cell.crossing.daemon.log()
