"""How many VMs arrive at a time."""

from __future__ import annotations

import pytest

from nbdtun.errors import TooManyArrivals
from nbdtun.migration.capacity import Capacity


def test_as_many_as_may() -> None:
    capacity = Capacity(2)
    capacity.admit("web3", 1)
    with pytest.raises(TooManyArrivals, match="web3: the destination receives 2 VMs already, as many as it may; try again later"):
        capacity.admit("web3", 2)
    capacity.most = 3
    capacity.admit("web3", 2)
