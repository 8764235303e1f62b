"""Supervision: what watches one migration, as one value."""

from __future__ import annotations

from attrs import frozen

from nbdtun.migration.supervision.convergence import Convergence
from nbdtun.migration.supervision.meter import Meter
from nbdtun.migration.supervision.watchdog import Watchdog


@frozen
class Supervision:
    """How far it is, whether it converges, and whether it lasts too long."""

    meter: Meter
    convergence: Convergence
    watchdog: Watchdog
