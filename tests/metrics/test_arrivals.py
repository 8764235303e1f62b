"""The metrics of VMs that arrive."""

from __future__ import annotations

from types import SimpleNamespace

from nbdtun.metrics.arrivals import ENDS, of
from nbdtun.migration.destination.life import State
from nbdtun.migration.tally import Tally
from tests.metrics.stage import read, service


def test_those_under_way_are_in_a_phase() -> None:
    found = read(of(service(State.PREPARED, State.PREPARED, State.FINISHED, State.ABORTED)))
    phases = {name: value for name, value in found.items() if name.startswith("nbdtun_migrations{") and value}
    assert phases == {'nbdtun_migrations{phase="mirror"}': 2, 'nbdtun_migrations{phase="settle"}': 1}


def test_every_end_is_there_before_the_first() -> None:
    """Prometheus sees an increase only of what it has seen before."""
    found = read(of(service()))
    assert sum(name.startswith("nbdtun_migrations_ended_total") for name in found) == len(ENDS)
    assert {outcome for outcome, _ in ENDS} == {"completed", "failed", "cancelled", "unknown", "lost"}


def test_libvirts_count_too() -> None:
    libvirt = SimpleNamespace(under_way=[object()], tally=Tally())
    libvirt.tally.end("completed", "finish", 100.0)
    served = service(State.LISTENING, libvirt=libvirt)
    served.sessions.register.tally.end("completed", "finish", 20.0)
    served.sessions.register.tally.downtimes.note(0.08)
    found = read(of(served))
    assert found['nbdtun_migrations{phase="ram"}'] == 2
    assert found['nbdtun_migrations_ended_total{outcome="completed",phase="finish"}'] == 2
    assert found["nbdtun_migration_duration_seconds_sum"] == 120
    assert found["nbdtun_migration_downtime_seconds_sum"] == 0.08
