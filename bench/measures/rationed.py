"""Rationed: a migration whose two QEMUs have the same share of a core each, with a tunnel and without.

On two cores, a tunnel's processor time comes off QEMU's, and so off the rate. On hosts with a core to spare it does not.
Here each QEMU is held to a share, and the tunnel has what is left, as it would have there.
"""

from __future__ import annotations

from collections.abc import Iterator

from bench.measures.measure import Measure
from bench.measures.migration import COLUMNS, SUBJECTS, moved, pair_of, room_for
from bench.peers import SSH
from bench.quota import held_to, hierarchy
from bench.rounds import interleaved
from bench.samples import Sample
from bench.scene import Scene
from lab import guest
from lab.disks import MIB

SIZE = 1024 * MIB
SHARE = 0.4
SETTING = f"1 GiB, each QEMU has {SHARE:g} of a core"


def measure(scene: Scene, parts: tuple[str, ...]) -> Iterator[Sample]:
    """Every way but ssh in every round."""
    where, home = hierarchy(), room_for(2 * SIZE)
    if where is None or home is None:
        scene.note(RATIONED.name, "it needs cgroups that it can make" if where is None else "it needs 4 GiB of room")
        return
    behaves = guest.build()
    for number, subject in interleaved([each for each in SUBJECTS if each.name != SSH.name], scene.effort.rounds):
        with pair_of(home, behaves, SIZE) as pair:
            pair.source.wait_ticks(20)
            with held_to(SHARE, pair.source.pid, where), held_to(SHARE, pair.destination.pid, where):
                figures = moved(subject, pair, scene, SIZE)
        yield Sample(RATIONED.name, subject.name, number, figures, SETTING)


RATIONED = Measure("rationed", "A migration, both QEMUs held to a share", COLUMNS, measure)
