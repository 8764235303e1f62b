"""Metrics of a real migration: promtool finds nothing wrong with them, and a real Prometheus follows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import nbdtun
from lab.crossing import Crossing
from lab.daemon import free_port
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import wait
from lab.prometheus import Prometheus, promtool, scrape
from tests.integration.outcome import arrived
from tests.metrics.stage import parsed

RULES = Path(nbdtun.__file__).parent / "metrics/nbdtun.rules.yml"
FIRING = Path(__file__).parent.parent / "metrics/alerts.yml"


def test_promtool_finds_the_alerts_in_order() -> None:
    assert promtool("check", "rules", f"{RULES}") == ""
    assert promtool("test", "rules", f"{FIRING}") == ""


def test_an_alert_that_is_wrong_is_found(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text(RULES.read_text().replace("nbdtun_limit_used /", "nbdtun_limit_used //"))
    assert "could not parse expression" in promtool("check", "rules", f"{broken}")


def test_both_ends_of_a_migration_tell_what_they_do(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    there, here = free_port(), free_port()
    crossing = crossings(pairs(Plan(32 * MIB)), daemon_options=["--metrics", f"127.0.0.1:{there}"])
    attempt = crossing.migrate("--bandwidth", "8MiB", "--metrics", f"127.0.0.1:{here}")
    attempt.wait_copied(4 * MIB)
    received = 'nbdtun_channel_bytes_total{direction="received",target="nbd"}'
    wait(lambda: parsed(scrape(there)).get(received, 0) > MIB, 10, "a look at the workers, if there are some")
    pages = {end: scrape(port) for end, port in (("source", here), ("destination", there))}
    for end, page in pages.items():
        assert promtool("check", "metrics", stdin=page) == "", end
    source, destination = (parsed(page) for page in pages.values())
    assert source['nbdtun_migrations{phase="mirror"}'] == destination['nbdtun_migrations{phase="mirror"}'] == 1
    assert source['nbdtun_migration_copied_bytes{part="disks"}'] >= 4 * MIB
    assert source['nbdtun_channel_bytes_total{direction="sent",target="nbd"}'] > MIB
    assert destination['nbdtun_channel_bytes_total{direction="received",target="nbd"}'] > MIB
    assert destination['nbdtun_certificate_expiry_timestamp_seconds{file="server-cert.pem"}'] > time.time()
    assert source['nbdtun_certificate_expiry_timestamp_seconds{file="client-cert.pem"}'] > time.time()
    assert scrape(here, "/readyz") == scrape(there, "/readyz") == "ok\n"
    assert attempt.wait_exit(60) == 0, attempt.log()
    pause = attempt.last["downtime_ms"] / 1000
    ended = 'nbdtun_migrations_ended_total{outcome="completed",phase="finish"}'
    wait(lambda: parsed(scrape(there))[ended] == 1, 10, "the end of the session")
    destination = parsed(scrape(there))
    assert destination["nbdtun_migration_downtime_seconds_count"] == destination["nbdtun_migration_duration_seconds_count"] == 1
    assert destination["nbdtun_migration_downtime_seconds_sum"] == pytest.approx(pause, abs=0.001)
    arrived(crossing)


@pytest.mark.slow
def test_a_port_that_is_taken_ends_it_before_anything_begins(pairs: Callable[..., Pair], crossings: Callable[..., Crossing]) -> None:
    crossing = crossings(pairs(Plan(32 * MIB)))
    attempt = crossing.migrate("--metrics", f"127.0.0.1:{crossing.port}")
    assert attempt.wait_exit(30) == 2
    assert attempt.complaints() == [
        f"nbdtun: 127.0.0.1:{crossing.port}: Address already in use; `ss -ltnp` shows the process that listens there"
    ]
    assert crossing.migrate().wait_exit(60) == 0  # nothing is left of it
    arrived(crossing)


@pytest.mark.slow
def test_a_real_prometheus_follows_a_real_migration(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path
) -> None:
    """Its cable is pulled for a moment, which Prometheus sees at both ends, and so does the alert."""
    there, here = free_port(), free_port()
    crossing = crossings(pairs(Plan(64 * MIB)), cable=True, daemon_options=["--metrics", f"127.0.0.1:{there}"])
    rules = directory / "rules.yml"
    rules.write_text(RULES.read_text().replace("nbdtun_outage_age_seconds > 60", "nbdtun_outage_age_seconds > 2"))
    with Prometheus(directory, rules, nbdtun=there, nbdtun_migration=here) as prometheus:
        prometheus.wait('up{job="nbdtun"} == 1')
        attempt = crossing.migrate("--bandwidth", "2MiB", "--metrics", f"127.0.0.1:{here}")
        attempt.wait_copied(4 * MIB)
        prometheus.wait('nbdtun_migrations{job="nbdtun_migration",phase="mirror"} == 1')
        prometheus.wait('rate(nbdtun_channel_bytes_total{job="nbdtun",target="nbd",direction="received"}[10s]) > 1e6')
        crossing.cable.pull()
        prometheus.wait('nbdtun_outage_age_seconds{job="nbdtun_migration"} > 2')
        wait(lambda: "NbdtunNoLink" in prometheus.alerts(), 20, "the alert", prometheus)
        assert "NbdtunMigrationFailed" not in prometheus.alerts()
        crossing.cable.plug()
        prometheus.wait('nbdtun_outage_age_seconds{job="nbdtun_migration"} == 0')
        prometheus.wait('nbdtun_links_resumed_total{job="nbdtun"} > 0')
        lost = prometheus.value('nbdtun_outage_seconds_total{job="nbdtun_migration"}')
        assert lost is not None
        assert 2 < lost < 60
        assert crossing.command("set", "web1", "--bandwidth", "none").returncode == 0
        assert attempt.wait_exit(120) == 0, attempt.log()
        prometheus.wait('nbdtun_migrations_ended_total{job="nbdtun",outcome="completed"} == 1')
        wait(lambda: "NbdtunNoLink" not in prometheus.alerts(), 20, "the end of the alert", prometheus)
        pause = prometheus.value('nbdtun_migration_downtime_seconds_sum{job="nbdtun"}')
        assert pause == pytest.approx(attempt.last["downtime_ms"] / 1000, abs=0.001)
    arrived(crossing)
