"""Faults by phases, with real QEMUs and a ticking guest: each cell of the table in `expectations.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.disks import MIB
from lab.pair import Pair, Plan
from tests.integration.matrix import expectations
from tests.integration.matrix.cell import Cell
from tests.integration.matrix.expectations import QUICK, TABLE, End, Never, Outcome
from tests.integration.matrix.faults import FAULTS
from tests.integration.matrix.phases import PHASES, Phase
from tests.integration.matrix.verdict import judge

LARGE = (320 << 10) + 8
"""KiB of RAM of a VM that can be held within its memory; for the kind of number see `lab.qemu.MEMORY`."""


def cells() -> Iterator[object]:
    """Every cell that exists; those that are not for every day are marked."""
    for name, row in TABLE.items():
        for phase, outcome in zip(PHASES, row.cells, strict=True):
            if not isinstance(outcome, Never):
                marks = [] if (name, phase.name) in QUICK else [pytest.mark.slow]
                yield pytest.param(name, phase, outcome, id=f"{name}-in-{phase.name}", marks=marks)


@pytest.mark.parametrize(("name", "phase", "outcome"), list(cells()))
def test_cell(pairs: Callable[..., Pair], tls: Path, hasty: Callable[[], None], name: str, phase: Phase, outcome: Outcome) -> None:
    fault = FAULTS[name]
    if fault.hasty:
        hasty()
    with ExitStack() as ended:
        pair = pairs(Plan(64 * MIB), **({"memory": LARGE} if phase.held_back else {}))
        cell = Cell(pair, tls, phase, fault.options, ended)
        cell.moves = outcome.end is End.MOVES
        fault.before(cell)
        pair.source.wait_ticks(3)
        cell.begin()
        if not fault.outset:
            cell.reach()
        fault.strike(cell)
        cell.open()
        judge(cell, fault, outcome)


def test_the_table_is_complete() -> None:
    assert FAULTS.keys() == TABLE.keys()
    assert tuple(phase.name for phase in PHASES) == expectations.PHASES
    assert all(len(row.cells) == len(PHASES) for row in TABLE.values())
    assert all(not isinstance(TABLE[name].cells[expectations.PHASES.index(phase)], Never) for name, phase in QUICK)
