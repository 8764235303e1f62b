"""`nbdtun migrate --resolve` where there is nothing to resolve; the real cases are among the cuts of `test_migrate_cable.py`."""

from __future__ import annotations

from collections.abc import Callable

from lab.crossing import Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan


def test_nothing_to_resolve(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    pair = pairs(Plan(64 * MIB))
    pair.source.wait_ticks()
    resolving = crossings(pair).migrate("--resolve")
    assert resolving.wait_exit(60) == 1, resolving.log()
    assert "there is nothing to resolve" in resolving.complaints()[-1]
    assert pair.disturbance() == []
