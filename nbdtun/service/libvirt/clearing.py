"""
What stands by a destination's daemon, and what it does when the daemon was killed: it removes what was made for VMs that have not arrived.

libvirt itself ends a domain that waits for its guest, as soon as the daemon's connection is closed. The rest is done by records, as by the
next daemon. Which one of the two comes first does not matter: each waits for the other.
"""

from __future__ import annotations

import os
from contextlib import suppress

from attrs import evolve, frozen

from nbdtun.config import Owner
from nbdtun.errors import ShuttingDown
from nbdtun.libvirt.far.arrival import Arrival, Doors
from nbdtun.libvirt.far.arrivals import Arrivals
from nbdtun.logs import make_logger
from nbdtun.migration.rollback.presence import identity
from nbdtun.process import Reactor
from nbdtun.service.libvirt.standby import Standby
from nbdtun.service.local.outcomes import state_dir
from nbdtun.service.local.rundir import RunDir


@frozen
class Belongings:
    """What a daemon leaves at the libvirt of ``uri``; ``maker`` is how its records name it, once it has become a process of its own."""

    uri: str
    run_dir: str | None
    owner: Owner | None
    maker: str = ""
    name: str = "dest"


class Clearing:
    """Removes what ``left`` names."""

    log = make_logger()

    def __init__(self, reactor: Reactor, left: Belongings) -> None:
        self._left = left
        self._arrivals = Arrivals(reactor, left.uri, state_dir(left.run_dir), _no_doors)

    def __repr__(self) -> str:
        return f"<Clearing of {self._left.maker}>"

    async def run(self) -> None:
        """Remove it. What cannot be removed is logged, and stays for the next daemon."""
        RunDir(self._left.run_dir, self._left.owner).sweep()
        await self._arrivals.sweep(self._left.maker)

    def cancel(self) -> None:
        """It ends soon by itself."""


def _no_doors(arrival: Arrival) -> Doors:
    raise ShuttingDown(f"{arrival.wanted.name}: nothing arrives here any more")


class Beside:
    """The process beside this daemon, from the first VM that arrives to the daemon's orderly end."""

    def __init__(self, left: Belongings) -> None:
        self._left = left
        self._standby: Standby | None = None

    def __repr__(self) -> str:
        return f"<Beside {self._left.name}: {self._standby}>"

    def begin(self) -> None:
        """
        Let it stand by; safe to repeat.

        :raise ConfigError: it cannot be started.
        """
        if self._standby is None:
            self._standby = Standby(evolve(self._left, maker=identity(os.getpid())))

    def end(self) -> None:
        """It is not needed any more; safe to repeat."""
        standby, self._standby = self._standby, None
        if standby is not None:
            with suppress(OSError):
                standby.dismiss()
