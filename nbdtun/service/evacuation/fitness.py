"""Which destination can take which VM: each is checked as `nbdtun check` does it, and how fast the way there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve, field, frozen

from nbdtun.config import MigrateSettings
from nbdtun.config.libvirt import DomainSettings
from nbdtun.errors import NbdtunError
from nbdtun.evacuation.retries import EITHER, Sense, sense
from nbdtun.evacuation.terms import Terms
from nbdtun.migration.capacity import Space
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.forecast import Forecast, Load, Path, forecast
from nbdtun.migration.check.report import Measured, Report
from nbdtun.migration.finding import Level
from nbdtun.process import Reactor
from nbdtun.service.checking import Near, near_of
from nbdtun.service.evacuation.places import Places
from nbdtun.service.evacuation.survey import Seen

#: The most characters of a reason.
LONGEST: Final = 1000


@frozen
class Fitness:
    """
    Of one VM: ``fits`` are the destinations that can take it, ``refused`` maps the others to the code and the text of the reason.
    ``warnings`` maps destinations to what is said of it there, and ``spaces`` to the disk space that it needs.
    """

    fits: tuple[str, ...] = ()
    refused: Mapping[str, tuple[str, str]] = field(factory=dict)
    warnings: Mapping[str, tuple[str, ...]] = field(factory=dict)
    spaces: Mapping[str, tuple[Space, ...]] = field(factory=dict)

    @property
    def perhaps(self) -> tuple[str, ...]:
        """The destinations that may take it later."""
        return tuple(to for to, (code, _) in self.refused.items() if sense(code) is Sense.ELSEWHERE and code not in EITHER)

    @property
    def hopeful(self) -> Fitness:
        """The same, with those that may take it later."""
        told = {to: (self.refused[to][1],) for to in self.perhaps}
        return evolve(self, fits=(*self.fits, *self.perhaps), warnings={**self.warnings, **told})


class Examiner:
    """Checks VMs; ``measure``: with the first VM that fits, each destination's line is measured, for two seconds."""

    def __init__(self, reactor: Reactor, terms: Terms, places: Places, *, measure: bool) -> None:
        self._reactor = reactor
        self._terms = terms
        self._places = places
        self._unmeasured = set(terms.to) if measure else set()
        self._lines: dict[str, Measured] = {}

    async def examine(self, seen: Seen) -> Fitness:
        """Check one VM with all destinations, one after the other: it is read once, and each of them judges it."""
        reports: dict[str, Report | NbdtunError] = {}
        near: Near | None = None
        try:
            for to in self._terms.to:
                try:
                    settings = self._places.settings(seen.vm, seen.place, to)
                    near = near or near_of(self._reactor, settings)
                    reports[to] = await self._check(near, settings, to)
                except NbdtunError as error:
                    reports[to] = error
        finally:
            if near is not None:
                await near.close()
        failed = {to: report for to, report in reports.items() if isinstance(report, NbdtunError) or report.level is Level.FAILURE}
        return Fitness(
            tuple(to for to in reports if to not in failed),
            {to: _why(report) for to, report in failed.items()},
            {to: _warnings(report) for to, report in reports.items() if isinstance(report, Report)},
            {to: report.spaces for to, report in reports.items() if isinstance(report, Report)},
        )

    async def _check(self, near: Near, settings: MigrateSettings | DomainSettings, to: str) -> Report:
        measure = to in self._unmeasured
        self._unmeasured.discard(to)
        report = await near.check(settings, Checklist(), measure=measure)
        if report.measured.throughput is not None:
            self._lines[to] = report.measured
        elif measure:
            self._unmeasured.add(to)
        return report

    def foresee(self, seen: Seen, to: str) -> Forecast | None:
        """How long a VM takes that nobody uses; None where the line has not been measured."""
        line = self._lines.get(to)
        if line is None or line.throughput is None:
            return None
        settings = self._places.settings(seen.vm, seen.place, to).migration
        path = Path(line.throughput, line.round_trip or 0.0, self._terms.bandwidth or None, settings.downtime)
        return forecast(Load(seen.disks, seen.memory), path)


def _why(report: Report | NbdtunError) -> tuple[str, str]:
    """The code of the first failure, and all of them in words."""
    if isinstance(report, NbdtunError):
        return report.code, str(report)
    failures = [finding for finding in report.findings if finding.level is Level.FAILURE]
    return str(failures[0].code or "failed"), "; ".join(str(finding) for finding in failures)[:LONGEST]


def _warnings(report: Report) -> tuple[str, ...]:
    return tuple(str(finding)[:LONGEST] for finding in report.findings if finding.level is Level.WARNING)
