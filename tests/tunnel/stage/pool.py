"""Slabs that are counted."""

from __future__ import annotations

from typing import Any

from nbdtun.tunnel.protocol.slab import Slab, SlabPool


class CountingPool(SlabPool):
    """Knows how many slabs are lent, and the most that ever were."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lent = self.most = 0

    def take(self) -> Slab:
        self.lent += 1
        self.most = max(self.most, self.lent)
        return super().take()

    def give(self, slab: Slab) -> None:
        assert all(slab is not free for free in self._free), "a slab was given back twice"
        self.lent -= 1
        super().give(slab)
