"""The way out of status 3: the destination is asked again, and the VM ends up in one place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from lab.crossing import Crossing
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan

SHORT = ["--resume-window", "2s", "--link-timeout", "1s"]


@pytest.fixture
def at_the_end(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> Iterator[tuple[Crossing, Gate]]:
    """A migration whose destination has got everything, and is just about to run; `nbdtun migrate` has ended with 3."""
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks(5)
    with ExitStack() as ended:
        gate = ended.enter_context(Gate(pair.directory / "gate.qmp", pair.destination.qmp_path, "cont"))
        yield crossings(pair, cable=True, qmp=(pair.source.qmp_path, gate.path), options=SHORT), gate


def lost(crossing: Crossing, gate: Gate, loss: Callable[[], None]) -> None:
    """Migrate, and lose the destination at the worst moment."""
    attempt = crossing.migrate()
    gate.wait_held()
    loss()
    assert attempt.wait_exit(60) == 3, attempt.log()
    assert "--resolve" in attempt.complaints()[-1]
    assert crossing.pair.source.status() == "postmigrate"


def test_it_had_arrived(at_the_end: tuple[Crossing, Gate]) -> None:
    crossing, gate = at_the_end
    pair = crossing.pair
    lost(crossing, gate, crossing.cable.pull)
    gate.open()
    pair.destination.wait_status("running")
    unreachable = crossing.migrate("--resolve")
    assert unreachable.wait_exit(60) == 3, unreachable.log()
    assert pair.source.status() == "postmigrate"
    crossing.cable.plug()
    resolving = crossing.migrate("--resolve")
    assert resolving.wait_exit(60) == 0, resolving.log()
    assert resolving.last["phase"] == "completed"
    pair.destination.wait_ticks(5)
    assert not pair.source.running()
    assert pair.faults() == []
    assert crossing.leftovers() == []


def test_it_had_not_and_its_daemon_was_started_again(at_the_end: tuple[Crossing, Gate]) -> None:
    crossing, gate = at_the_end
    pair = crossing.pair
    lost(crossing, gate, crossing.daemon.kill)
    gate.drop()
    crossing.start_daemon()
    resolving = crossing.migrate("--resolve")
    assert resolving.wait_exit(60) == 1, resolving.log()
    assert "runs at the source again" in resolving.complaints()[-1]
    pair.destination.wait_exit(10)
    assert pair.disturbance() == []


def test_nothing_to_resolve(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks()
    resolving = crossings(pair).migrate("--resolve")
    assert resolving.wait_exit(60) == 1, resolving.log()
    assert "there is nothing to resolve" in resolving.complaints()[-1]
    assert pair.disturbance() == []
