"""The metrics of both ends of one tunnel, whose link is cut."""

from __future__ import annotations

from nbdtun.errors import TLSError
from nbdtun.metrics.tunnel import REASONS, of
from tests.metrics.stage import read
from tests.tunnel.conftest import make_stage, stage
from tests.tunnel.stage.stage import Stage

__all__ = ["make_stage", "stage"]


def test_bytes_links_and_what_a_cut_costs(stage: Stage) -> None:
    near, _ = stage.meet()
    stage.cable.line.stall()
    near.send(bytes(1000))
    stage.rest()
    stage.cable.cut()
    stage.rest()
    lost = read(of(stage.destination))
    assert (lost["nbdtun_links"], lost["nbdtun_links_lost_total"]) == (0, 1)
    stage.pass_time(1)
    here, there = read(of(stage.source)), read(of(stage.destination))
    assert here['nbdtun_channels{target="disk"}'] == there['nbdtun_channels{target="disk"}'] == here["nbdtun_links"] == 1
    assert here['nbdtun_channel_bytes_total{direction="sent",target="disk"}'] == 1000
    assert there['nbdtun_channel_bytes_total{direction="received",target="disk"}'] == 1000
    assert (here["nbdtun_links_lost_total"], here["nbdtun_links_resumed_total"], here["nbdtun_replayed_bytes_total"]) == (1, 1, 1000)
    assert here["nbdtun_outages_total"] == 1
    assert 0 < here["nbdtun_outage_seconds_total"] < 1
    assert here["nbdtun_outage_age_seconds"] == 0


def test_an_outage_has_an_age_and_a_window_fills(stage: Stage) -> None:
    near, _ = stage.meet()
    stage.cable.refuses = True
    stage.cable.cut()
    near.send(bytes(5000))
    stage.pass_time(3)
    found = read(of(stage.source))
    assert 2 < found["nbdtun_outage_age_seconds"] < 4
    assert 5000 <= found["nbdtun_window_used_bytes"] < found["nbdtun_window_bytes"]
    stage.cable.refuses = False
    stage.pass_time(10)
    assert read(of(stage.source))["nbdtun_outage_age_seconds"] == 0


def test_limits_and_use(stage: Stage) -> None:
    stage.meet()
    stage.destination.runtime.throttle.rate = 5000
    here, there = read(of(stage.source)), read(of(stage.destination))
    assert (here['nbdtun_limit_used{limit="max-channels"}'], here['nbdtun_limit{limit="max-channels"}']) == (1, 1024)
    assert there['nbdtun_limit_used{limit="max-channels-per-peer"}'] == 1
    assert there['nbdtun_limit{limit="max-handshakes"}'] == 256
    assert there["nbdtun_bandwidth_limit_bytes_per_second"] == 5000
    assert "nbdtun_bandwidth_limit_bytes_per_second" not in here


def test_refusals_are_counted_by_reason_from_zero_on(stage: Stage) -> None:
    assert read(of(stage.destination))['nbdtun_refused_total{reason="tls"}'] == 0
    for number in range(100):  # more than are logged
        stage.destination.refusals.report(f"192.0.2.{number}", TLSError("192.0.2.1: no certificate"))
    found = read(of(stage.destination))
    assert found['nbdtun_refused_total{reason="tls"}'] == 100
    assert sum("refused" in name for name in found) == len(REASONS)


def test_the_number_of_series_does_not_grow_with_migrations(stage: Stage) -> None:
    for session in range(3):
        stage.forwarder.target = f"nbd.{session:032x}"
        stage.targets.add(stage.forwarder.target, stage.target)
        near, far = stage.meet()
        near.shut()
        far.shut()
        stage.pass_time(1)
    found = read(of(stage.destination))
    assert {name for name in found if "channels_ended" in name} == {
        'nbdtun_channels_ended_total{outcome="complete",target="nbd"}',
        'nbdtun_channels_ended_total{outcome="failed",target="nbd"}',
    }
    assert found['nbdtun_channels_ended_total{outcome="complete",target="nbd"}'] == 3
