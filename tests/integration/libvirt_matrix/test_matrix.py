"""Faults by phases, with real libvirtds that have their own settings, and a ticking guest: each cell of the table in `expectations.py`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from lab.libvirt_way import PATIENT, Way
from lab.process import wait
from tests.integration.libvirt_matrix.cell import Cell
from tests.integration.libvirt_matrix.expectations import PHASES, QUICK, TABLE
from tests.integration.libvirt_matrix.faults import FAULTS
from tests.integration.matrix.expectations import End, Outcome

CLEANING_SECONDS = 60


def cells() -> Iterator[object]:
    """Every cell; those that are not for every day are marked."""
    for name, row in TABLE.items():
        for phase, outcome in zip(PHASES, row.cells, strict=True):
            marks = [] if (name, phase) in QUICK else [pytest.mark.slow]
            yield pytest.param(name, phase, outcome, id=f"{name}-in-{phase}", marks=marks)


@pytest.mark.parametrize(("name", "phase", "outcome"), list(cells()))
def test_cell(ways: Callable[..., Way], name: str, phase: str, outcome: Outcome) -> None:
    fault = FAULTS[name]
    cell = Cell(ways(sluices=True), phase, fault.options)
    cell.reach()
    fault.strike(cell)
    cell.open()
    status = cell.attempt.wait_exit(fault.timeouts)
    assert not cell.both_run()
    assert status == outcome.status, f"exit status {status}: {cell.attempt.log()}"
    assert outcome.says in cell.attempt.log()
    assert "Traceback" not in cell.attempt.log()
    if outcome.end is End.PAUSED:
        assert "paused" in cell.here.virsh("list")
        second = cell.begin()
        assert second.wait_exit(PATIENT) == 1
        assert "was handed over in an earlier migration" in second.log()
    fault.mend(cell)
    assert not cell.both_run()
    ENDS[outcome.end](cell, outcome)


def _moves(cell: Cell, outcome: Outcome) -> None:
    """It ticks there, nothing is lost, and nothing is left of the migration."""
    wait(lambda: cell.here.virsh("list", "--name") == "", CLEANING_SECONDS, "the domain's end at the source")
    cell.way.arrived(cell.there)
    wait(lambda: not _sockets(cell), CLEANING_SECONDS, f"the end of {_sockets(cell)}")


def _sockets(cell: Cell) -> list[str]:
    return [each for host in cell.hosts for each in cell.way.left(host) if "/run/" in each]


def _stays(cell: Cell, outcome: Outcome) -> None:
    """It runs on here, has never run there, where nothing is left; the next attempt moves it, and removes what is left till then."""
    assert cell.way.domain.ticks(cell.there) == 0
    if not outcome.later:
        wait(lambda: not _remains(cell), CLEANING_SECONDS, f"a clean destination: {_remains(cell)}")
    cell.way.domain.wait_ticks(cell.here, 2, PATIENT)
    cell.cable.plug()
    assert cell.begin().wait_exit(PATIENT) == 0, cell.attempt.log()
    _moves(cell, outcome)


def _remains(cell: Cell) -> list[str]:
    return [*cell.there.virsh("list", "--all", "--name").split(), *cell.way.left(cell.there)]


def _paused(cell: Cell, outcome: Outcome) -> None:
    """`--resolve` finds out where it runs; or says that nobody can, and who keeps libvirt waiting."""
    resolving = cell.begin("--resolve")
    status = resolving.wait_exit(PATIENT)
    if outcome.hand == "--resolve":
        assert status == 0, resolving.log()
        _moves(cell, outcome)
        return
    assert status == 3, resolving.log()
    assert "paused" in cell.here.virsh("list")
    found = re.search(r"kill (\d+) lets it run on here", resolving.log())
    assert found is not None, resolving.log()
    cell.kill(int(found[1]))
    cell.way.domain.wait_ticks(cell.here, 2, PATIENT)
    assert cell.begin("--overwrite").wait_exit(PATIENT) == 0, cell.attempt.log()
    _moves(cell, outcome)


ENDS = {End.MOVES: _moves, End.STAYS: _stays, End.PAUSED: _paused}


def test_the_table_is_complete() -> None:
    assert FAULTS.keys() == TABLE.keys()
    assert all(len(row.cells) == len(PHASES) for row in TABLE.values())
    assert all(name in TABLE and phase in PHASES for name, phase in QUICK)
