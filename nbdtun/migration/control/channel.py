"""One end of a control channel: the dialogue of the :mod:`~nbdtun.migration.control.commands`."""

from __future__ import annotations

import statistics
from typing import Self

from twisted.internet.defer import Deferred

from nbdtun.deferreds import with_timeout
from nbdtun.dialogue import Dialogue
from nbdtun.errors import DestinationFailed, LinkLost, NbdtunError, error_of
from nbdtun.logs import make_logger
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.control.commands import NOT_ITS_TO_TELL, Ping

#: Between two questions, while the destination cannot be reached or cannot answer yet.
AGAIN_SECONDS = 1.0

#: How often a round trip is measured.
PINGS = 5


def remote_error(code: str, reason: str) -> NbdtunError:
    """The error that the other end reports by its code; codes that only this end can use become DestinationFailed."""
    error = error_of(code, reason, NbdtunError, DestinationFailed)
    return DestinationFailed(str(error)) if isinstance(error, NOT_ITS_TO_TELL) else error


class Control(Dialogue):
    """The source's end; the destination's is a subclass."""

    log = make_logger()
    failed = DestinationFailed
    channel = "control channel"
    other = "the destination"
    here = "at the source"

    async def open(self, carrier: Carrier, seconds: float) -> Self:
        """
        Connect it through ``carrier``.

        :raise TunnelError: the destination cannot be reached, or refuses.
        """
        late = f"the destination could not be reached within {seconds:g} s"
        opening = Deferred.fromCoroutine(carrier.control(self))
        return await with_timeout(self._clock, seconds, opening, lambda: LinkLost(late))

    async def round_trip(self, seconds: float) -> float:
        """
        Measure a round trip: the median of several, in seconds. Each answer must come within ``seconds``.

        :raise NbdtunError: one does not.
        """
        times = []
        for _ in range(PINGS):
            began = self._clock.seconds()
            await self.ask(Ping, seconds=seconds)
            times.append(self._clock.seconds() - began)
        return statistics.median(times)
