"""Sockets: what QEMU's own socket costs, which is as small as the system makes it.

A migration through the tunnel with TLS, in turns: QEMU connects by itself, or it is handed connected sockets with room
for 1 MiB (`getfd`), for its memory, or for its disk as well. Such a disk cannot connect again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.columns import Column
from bench.measures.measure import Measure
from bench.measures.migration import MIGRATION, QUICK, pair_of, room_for
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from lab import bare, guest
from lab.disks import MIB
from lab.pair import Pair
from lab.qemu import Qemu
from lab.tunnel import Tunnel

PAIRS = 10
ROOM = MIB
COLUMNS = (Column("wall_s", "wall\ns", 2), Column("mirror_s", "disk\ns", 2))
OWN, MEMORY, BOTH = "QEMU's own sockets", "the memory's of 1 MiB", "both of 1 MiB"


@dataclass(frozen=True)
class Handed:
    """A way whose near end is a socket that QEMU was handed as `name`."""

    far: bare.UnixWay
    name: str

    @property
    def server(self) -> dict[str, Any]:
        return self.far.server

    @property
    def client(self) -> dict[str, Any]:
        return {"type": "fd", "str": self.name}

    @property
    def incoming(self) -> str:
        return self.far.incoming

    @property
    def outgoing(self) -> str:
        return f"fd:{self.name}"


def hand(vm: Qemu, name: str, path: Path) -> None:
    """Connect to `path`, and give the socket to QEMU."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_SNDBUFFORCE", 32), ROOM // 2)  # the kernel doubles it; takes root
        sock.connect(f"{path}")
        vm.qmp.hand(name, sock.fileno())


def _own(pair: Pair, nbd: bare.UnixWay, ram: bare.UnixWay) -> bare.Moved:
    return bare.migrate(pair.source, pair.destination, nbd, ram)


def _memory(pair: Pair, nbd: bare.UnixWay, ram: bare.UnixWay) -> bare.Moved:
    hand(pair.source, "ram", ram.dial)
    return bare.migrate(pair.source, pair.destination, nbd, Handed(ram, "ram"))


def _both(pair: Pair, nbd: bare.UnixWay, ram: bare.UnixWay) -> bare.Moved:
    for name, way in (("nbd", nbd), ("ram", ram)):
        hand(pair.source, name, way.dial)
    return bare.migrate(pair.source, pair.destination, Handed(nbd, "nbd"), Handed(ram, "ram"))


WAYS: dict[str, Callable[[Pair, bare.UnixWay, bare.UnixWay], bare.Moved]] = {OWN: _own, MEMORY: _memory, BOTH: _both}


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """All in every round, which begins with another one each time."""
    home = room_for(2 * QUICK)
    if home is None:
        scene.note(SOCKETS.name, f"it needs as much room as {MIGRATION.name}")
        return
    behaves = guest.build()
    for number, name in interleaved(tuple(WAYS), 1 if scene.effort.quick else PAIRS):
        with pair_of(home, behaves, QUICK) as pair:
            nbd, ram = (bare.UnixWay(pair.directory / f"{kind}.sock", pair.directory / f"{kind}-in.sock") for kind in ("nbd", "ram"))
            forward = ["--forward", f"nbd=unix:{nbd.dial}", "--forward", f"ram=unix:{ram.dial}"]
            with Tunnel(pair.directory, nbd.listen, scene.tls, source_options=forward, targets=[f"ram=unix:{ram.listen}"]):
                pair.source.wait_ticks(10)
                moved = WAYS[name](pair, nbd, ram)
        yield Sample(SOCKETS.name, name, number, {"wall_s": moved.total, "mirror_s": moved.mirror})


SOCKETS = Measure("sockets", "Sockets of QEMU's own, and larger ones", COLUMNS, measure)
