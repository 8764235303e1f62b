"""The report of a check, as one frozen value: the findings, the measurements, and the forecast."""

from __future__ import annotations

from typing import Any

from attrs import frozen

from nbdtun.migration.capacity import Space
from nbdtun.migration.check.activity import Activity
from nbdtun.migration.check.forecast import Forecast
from nbdtun.migration.finding import Finding, Level


@frozen
class Measured:
    """
    The measurements, None where there is none.

    ``round_trip`` is in seconds, ``throughput`` in bytes per second, ``clock`` is how many seconds the destination's clock is ahead.
    """

    round_trip: float | None = None
    throughput: float | None = None
    clock: float | None = None
    activity: Activity | None = None

    def as_json(self) -> dict[str, Any]:
        """A part of the object that ``nbdtun check --json`` prints."""
        guest = self.activity
        return {
            "round_trip": None if self.round_trip is None else round(self.round_trip, 6),
            "throughput": None if self.throughput is None else round(self.throughput),
            "clock": None if self.clock is None else round(self.clock, 3) + 0.0,
            "dirty_rate": None if guest is None else round(guest.memory),
            "write_rate": None if guest is None else round(guest.writes),
        }


@frozen
class Report:
    """All that is known about the VM ``vm`` before its migration; ``spaces`` is what its disks need at the destination, if that is told."""

    vm: str
    level: Level
    findings: tuple[Finding, ...]
    measured: Measured = Measured()
    forecast: Forecast | None = None
    spaces: tuple[Space, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The object that ``nbdtun check --json`` prints: see ``docs/migrate``."""
        return {
            "vm": self.vm,
            "level": self.level.value,
            "findings": [finding.as_json() for finding in self.findings],
            "measured": self.measured.as_json(),
            "forecast": None if self.forecast is None else self.forecast.as_json(),
        }
