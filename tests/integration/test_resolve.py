"""`nbdtun migrate --resolve` beside its cases among the cuts of `test_migrate_cable.py` and in the matrix."""

from __future__ import annotations

from collections.abc import Callable

from lab.crossing import Crossing
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan


def test_nothing_to_resolve(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks()
    resolving = crossings(pair).migrate("--resolve")
    assert resolving.wait_exit(60) == 1, resolving.log()
    assert "there is nothing to resolve" in resolving.complaints()[-1]
    assert pair.disturbance() == []


def test_a_guest_that_came_to_run_while_qemu_was_not_heard(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], hasty: Callable[[], None]
) -> None:
    """The daemon that did not hear of it lives on, and what it has left is not its own any more."""
    hasty()
    pair = pairs(Plan(64 * MIB))
    with Gate(pair.directory / "gate.qmp", pair.destination.qmp_path, "cont") as gate:
        crossing = crossings(pair, qmp=(pair.source.qmp_path, gate.path))
        pair.source.wait_ticks(3)
        attempt = crossing.migrate()
        gate.wait_held()
        gate.mute()
        gate.open()
        assert attempt.wait_exit(60) == 3, attempt.log()
        assert "has not answered cont" in attempt.complaints()[-1]
        gate.unmute()
        resolving = crossing.migrate("--resolve")
        assert resolving.wait_exit(60) == 0, resolving.log()
        pair.source.wait_exit()
        pair.destination.wait_ticks(5)
        assert pair.faults() == []
        assert pair.destination.leftovers() == []
        assert crossing.leftovers() == []
