"""A guest that has arrived is announced to its network once it runs, however late that is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from lab.crossing import Crossing
from lab.disks import MIB
from lab.gate import Gate
from lab.pair import Pair, Plan
from lab.process import wait
from tests.integration.outcome import arrived

MAC = "52:54:00:12:34:56"
RARP = bytes.fromhex(f"{'f' * 12}{MAC.replace(':', '')}8035")
"""The beginning of a frame by which QEMU announces a guest: to all, from the guest, and its type."""

QUIET = 2.0
"""Seconds: those that QEMU sends by itself, when the memory has arrived, take less."""


def test_it_is_announced_when_it_runs(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    card = ["-netdev", "hubport,hubid=0,id=net0", "-device", f"virtio-net-pci,netdev=net0,mac={MAC}"]
    heard = ["-object", f"filter-dump,id=dump,netdev=net0,file={directory}/NAME.pcap"]
    pair = pairs(Plan(32 * MIB), extra=[*card, *heard])
    pair.source.wait_ticks(3)

    def announcements() -> int:
        return (directory / "dst.pcap").read_bytes().count(RARP)

    with Gate(directory / "gate.qmp", pair.destination.qmp_path, "cont") as gate:
        crossing = crossings(pair, qmp=(pair.source.qmp_path, gate.path))
        attempt = crossing.migrate()
        gate.wait_held()
        time.sleep(QUIET)
        before = announcements()
        assert before > 0  # by QEMU itself, while the guest stood still
        gate.open()
        assert attempt.wait_exit(60) == 0, attempt.log()
        wait(lambda: announcements() > before, 10, "another announcement")
        arrived(crossing)
