"""Libvirt's own migration, as it is asked about meanwhile."""

from __future__ import annotations

from nbdtun.libvirt.near.job import Seen

STATS = {"type": 2, "memory_processed": 10, "memory_remaining": 5, "memory_iteration": 3, "auto_converge_throttle": 20}


def test_a_look_has_each_disk_and_the_memory() -> None:
    seen = Seen.of(STATS, {"vda": {"type": 2, "bandwidth": 0, "cur": 1, "end": 4}, "vdb": {}})
    assert seen == Seen({"vda": (1, 4)}, sent=10, left=5, passes=3, throttle=20)
    assert seen.in_memory


def test_before_the_memory_there_is_none() -> None:
    assert not Seen.of({"type": 2, "disk_total": 4}, {"vda": {"cur": 1, "end": 4}}).in_memory
    assert Seen.of({}, {}) == Seen()
