"""How many VMs a destination receives at a time. The sources of others are told to wait."""

from __future__ import annotations

from typing import Final

from attrs import define

from nbdtun.errors import TooManyArrivals

#: Where the settings say nothing.
MOST: Final = 100


@define
class Capacity:
    """The VMs that may arrive at a time; it may change at any time, for those to come."""

    most: int = MOST

    def admit(self, vm: str, arriving: int) -> None:
        """
        Let ``vm`` arrive besides so many that do.

        :raise TooManyArrivals: there is no room for it.
        """
        if arriving >= self.most:
            what = f"{vm}: the destination receives {arriving} VM{'s' * (arriving != 1)} already, as many as it may"
            raise TooManyArrivals(what, "try again later, or raise --max-arrivals there")
