"""The metrics of migrations: of those that have ended, and of those under way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client import Metric

from nbdtun.metrics.families import counter, gauge, histogram
from nbdtun.migration.destination.register import PHASES
from nbdtun.migration.progress import Phase
from nbdtun.migration.tally import Tally
from nbdtun.service.destination import DestinationService

_PHASES: Final = tuple(phase.value for phase in Phase if not phase.final)

#: All pairs of an outcome and a phase; each is there from the beginning, so that Prometheus sees the first end, too.
ENDS: Final = tuple((outcome.value, phase) for outcome in Phase if outcome.final for phase in _PHASES)


def of(service: DestinationService) -> Iterator[Metric]:
    """Of a destination: the VMs that arrive."""
    under_way = Counter(PHASES[entry.session.state] for entry in service.sessions.register.busy.values() if entry.session.state in PHASES)
    if service.arrivals is not None:
        under_way["ram"] += len(service.arrivals.under_way)
        yield from ended(service.sessions.register.tally, service.arrivals.tally)
    else:
        yield from ended(service.sessions.register.tally)
    yield phases(under_way)


def phases(under_way: Counter[str]) -> Metric:
    """The migrations in each phase now."""
    return gauge("migrations", "Migrations under way.", {(phase,): under_way[phase] for phase in _PHASES}, "phase")


def ended(*tallies: Tally) -> Iterator[Metric]:
    """How migrations ended, and after how long."""
    whole = sum(tallies[1:], tallies[0])
    yield counter("migrations_ended", "Migrations that have ended.", {end: whole.ended[end] for end in ENDS}, "outcome", "phase")
    yield histogram("migration_duration_seconds", "From the beginning of a migration to its end.", whole.durations)
    yield histogram("migration_downtime_seconds", "For how long a guest stood still.", whole.downtimes)
