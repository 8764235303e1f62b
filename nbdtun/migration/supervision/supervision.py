"""Supervision: all that watches one migration, as one value."""

from __future__ import annotations

from attrs import frozen

from nbdtun.migration.supervision.convergence import Convergence
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.supervision.watchdog import Watchdog


@frozen
class Supervision:
    """The parts that measure progress, help it converge, and limit its time."""

    meter: Meter
    convergence: Convergence
    watchdog: Watchdog
