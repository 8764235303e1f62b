"""How many VMs arrive at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from nbdtun.errors import DestinationFailed, TooManyArrivals
from nbdtun.migration.capacity import Capacity, free_memory


def test_as_many_as_may() -> None:
    capacity = Capacity(2)
    capacity.admit("web3", 1)
    with pytest.raises(TooManyArrivals, match="web3: the destination receives 2 VMs already, as many as it may; try again later"):
        capacity.admit("web3", 2)
    capacity.most = 3
    capacity.admit("web3", 2)


def test_the_memory_that_is_free(tmp_path: Path) -> None:
    assert 0 < free_memory() < 1 << 50
    told = tmp_path / "meminfo"
    told.write_text("MemTotal:       100 kB\nMemAvailable:    60 kB\n")
    assert free_memory(told) == 60 * 1024
    told.write_text("MemTotal:       100 kB\n")
    with pytest.raises(DestinationFailed, match="does not tell"):
        free_memory(told)
    with pytest.raises(DestinationFailed, match="No such file"):
        free_memory(tmp_path / "nothing")
