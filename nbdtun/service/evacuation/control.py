"""The control of a running evacuation: its report, its bandwidth, and its end."""

from __future__ import annotations

import os
from typing import Any

from nbdtun import __version__
from nbdtun.errors import MigrationError
from nbdtun.logs import make_logger
from nbdtun.service.control.commands import NO_LIMIT
from nbdtun.service.evacuation.engine import Engine
from nbdtun.units import rate_text


class EvacuationControl:
    """Controls ``engine``; a :class:`~nbdtun.service.control.subject.Controllable`."""

    log = make_logger()

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __repr__(self) -> str:
        return f"<EvacuationControl of {self._engine!r}>"

    def report(self) -> dict[str, Any]:
        """All of it as it is now."""
        whose = {"kind": "evacuation", "name": "evacuate", "pid": os.getpid(), "release": __version__}
        return {**whose, **self._engine.overview.as_json(), "bandwidth": self._engine.book.terms.bandwidth or None}

    async def survey(self) -> dict[str, Any]:
        """The same: all of it is known."""
        return self.report()

    async def change(self, bandwidth: int | None, downtime: int | None, switchover: int | None = None) -> None:
        """
        Change the bandwidth of all VMs together; or let guests switch over from now on, whatever the window says (``switchover`` is 0).

        :raise MigrationError: ``downtime`` was given, which each VM has for itself, or another moment.
        :raise JournalFailed: the change cannot be written.
        """
        if downtime is not None:
            raise MigrationError("evacuate: --downtime applies to the migration of one VM", "nbdtun set VM --downtime")
        if switchover:
            raise MigrationError("evacuate: it has a window, and takes no other moment than now")
        if switchover is not None:
            self._engine.book.change(window="")
            self.log.info("guests may switch over from now on")
        if bandwidth is not None:
            self._engine.book.change(bandwidth=0 if bandwidth == NO_LIMIT else bandwidth)
            self.log.info("bandwidth is now {rate}", rate=rate_text(bandwidth) if bandwidth else "unlimited")

    def end(self) -> None:
        """Roll all back that can be, and begin nothing more."""
        self._engine.roll_back()
