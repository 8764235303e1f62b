"""The metrics of one migration, from its reports."""

from __future__ import annotations

from attrs import evolve

from nbdtun.metrics.departure import Departure
from nbdtun.migration.progress import LinkState, Phase
from tests.display.stage import END, GIB, MIB, MIRROR, START
from tests.metrics.stage import read
from tests.tunnel.conftest import make_stage, stage
from tests.tunnel.stage.stage import Stage

__all__ = ["make_stage", "stage"]


def test_how_far_it_is() -> None:
    departure = Departure("web1")
    assert read(departure.progress())['nbdtun_migration_info{vm="web1"}'] == 1
    departure.audience.report(START)
    departure.audience.report(MIRROR)
    found = read(departure.progress())
    assert found['nbdtun_migrations{phase="mirror"}'] == 1
    assert found['nbdtun_migration_copied_bytes{part="disks"}'] == 6 * GIB
    assert found['nbdtun_migration_size_bytes{part="disks"}'] == 11 * GIB
    assert (found["nbdtun_migration_bytes_per_second"], found["nbdtun_migration_left_seconds"]) == (400 * MIB, 12.8)
    assert found["nbdtun_migration_elapsed_seconds"] == 42
    assert repr(departure) == "<Departure of web1, mirror>"


def test_how_it_has_ended() -> None:
    departure = Departure("web1")
    for progress in (START, MIRROR, END, END):
        departure.audience.report(progress)
    found = read(departure.progress())
    assert found['nbdtun_migrations_ended_total{outcome="completed",phase="mirror"}'] == 1
    assert found["nbdtun_migration_duration_seconds_sum"] == 60
    assert found['nbdtun_migration_downtime_seconds_bucket{le="0.1"}'] == 1
    assert not any(value for name, value in found.items() if name.startswith("nbdtun_migrations{"))
    assert "nbdtun_migration_left_seconds" not in found


def test_one_that_ends_at_once() -> None:
    departure = Departure("web1")
    departure.audience.report(evolve(START, phase=Phase.FAILED))
    assert read(departure.progress())['nbdtun_migrations_ended_total{outcome="failed",phase="prepare"}'] == 1


def test_without_its_link_it_does_not_go_on() -> None:
    departure = Departure("web1")
    assert departure.unready == ""
    departure.audience.report(evolve(MIRROR, link=LinkState(lost_for=3.0)))
    assert departure.unready == "the link is lost"
    departure.audience.report(MIRROR)
    assert departure.unready == ""


def test_its_tunnel_is_told_once_there_is_one(stage: Stage) -> None:
    departure = Departure("web1")
    assert read(departure.tunnel()) == {}
    departure.audience.meet(stage.source)
    stage.meet()
    assert read(departure.tunnel())["nbdtun_links"] == 1
