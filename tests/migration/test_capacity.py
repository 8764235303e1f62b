"""How many VMs arrive at a time, and what is free for them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from nbdtun.errors import DestinationFailed, TooManyArrivals
from nbdtun.migration.capacity import Capacity, Space, free_memory, space_at, summed


def test_as_many_as_may() -> None:
    capacity = Capacity(2)
    capacity.admit("web3", 1)
    with pytest.raises(TooManyArrivals, match="web3: the destination receives 2 VMs already, as many as it may; try again later"):
        capacity.admit("web3", 2)
    capacity.most = 3
    capacity.admit("web3", 2)
    capacity.elsewhere = 1  # in another process of the same daemon
    with pytest.raises(TooManyArrivals, match="the destination receives 3 VMs already"):
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


def test_the_disk_space_that_is_free(tmp_path: Path) -> None:
    space = space_at(f"{tmp_path}", 5)
    assert (space.system, space.place, space.needed) == (f"{os.stat(tmp_path).st_dev}", f"{tmp_path}", 5)
    assert abs(space.free - shutil.disk_usage(tmp_path).free) < 1 << 30  # others write meanwhile
    assert space_at(f"{tmp_path}", 5, "/a\nb").place == "/a b"
    with pytest.raises(FileNotFoundError):
        space_at(f"{tmp_path}/gone", 1)


def test_what_is_needed_of_one_file_system_is_summed() -> None:
    spaces = [Space("1", "/a", 5, 9), Space("2", "/b", 1, 1), Space("1", "/a/c", 4, 8)]
    one, other = summed(spaces)
    assert (one, one.lacks) == (Space("1", "/a", 9, 8), True)
    assert (other, other.lacks) == (Space("2", "/b", 1, 1), False)
