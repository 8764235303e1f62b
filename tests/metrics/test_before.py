"""What the programs of one daemon have counted, before and after each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from prometheus_client import Metric

from nbdtun.metrics.before import Counted
from nbdtun.metrics.families import counter, gauge, histogram
from nbdtun.migration.tally import Spread
from nbdtun.service.succession.generation import Senders
from tests.metrics.stage import read


class Program:
    """One of them; ``took`` has the seconds that its migrations took."""

    def __init__(self, before: Program | None = None) -> None:
        source: Any = SimpleNamespace(runtime=SimpleNamespace(throttle=None), users=SimpleNamespace(elsewhere=None))
        self.generation = Senders(source, str)
        self.open, self.bytes, self.lost, self.rate = {"nbd": 1}, {"nbd": 10}, 0.0, 5
        self.took = Spread((1, 10))
        self.counted = Counted(self.generation, self._families)
        if before is not None:
            self.generation.earlier = before  # type: ignore[assignment]
            self.hear(before)

    def hear(self, before: Program) -> None:
        self.generation.counted({}, json.loads(json.dumps(before.generation.figures)))

    def _families(self) -> Iterator[Metric]:
        yield gauge("channels", "Open.", {(name,): count for name, count in self.open.items()}, "target")
        yield counter("channel_bytes", "Bytes.", {(name,): count for name, count in self.bytes.items()}, "target")
        yield gauge("outage_age_seconds", "Since.", self.lost)
        yield gauge("bandwidth_limit_bytes_per_second", "Limit.", self.rate)
        yield histogram("migration_duration_seconds", "Seconds.", self.took)

    def page(self) -> dict[str, float]:
        return {name.removeprefix("nbdtun_"): value for name, value in read(self.counted.families()).items()}


def test_alone_it_tells_its_own() -> None:
    page = Program().page()
    assert (page['channels{target="nbd"}'], page['channel_bytes_total{target="nbd"}']) == (1, 10)


def test_three_programs_of_one_daemon() -> None:
    first = Program()
    first.lost = 7.0
    first.took.note(5)
    second = Program(first)
    second.lost, second.open, second.bytes = 3.0, {"nbd": 2}, {"nbd": 20}
    third = Program(second)
    third.open, third.bytes, third.rate = {"ram": 1}, {"ram": 1}, 6
    page = third.page()
    assert (page['channels{target="nbd"}'], page['channels{target="ram"}']) == (3, 1)
    assert (page['channel_bytes_total{target="nbd"}'], page['channel_bytes_total{target="ram"}']) == (30, 1)
    assert (page["outage_age_seconds"], page["bandwidth_limit_bytes_per_second"]) == (7, 6)
    assert (page["migration_duration_seconds_count"], page['migration_duration_seconds_bucket{le="10.0"}']) == (1, 1)
    assert third.page() == page  # asking counts nothing


def test_of_one_that_has_ended_stays_what_only_grows() -> None:
    first = Program()
    second = Program(first)
    first.bytes = {"nbd": 15}
    second.hear(first)
    second.generation.alone()
    page = second.page()
    assert (page['channels{target="nbd"}'], page['channel_bytes_total{target="nbd"}']) == (1, 25)


def test_another_release_is_added_as_far_as_it_is_understood() -> None:
    one = Program()
    own = one.page()
    bounds = [["nbdtun_migration_duration_seconds_bucket", {"le": "3.0"}, 1], ["nbdtun_migration_duration_seconds_count", {}, 1]]
    told = {
        "nbdtun_channel_bytes": ["?", ["nbdtun_channel_bytes_total", {"target": "nbd"}, 1]],
        "nbdtun_migration_duration_seconds": bounds,
    }
    one.generation.counted({}, told | {"nbdtun_new": [["nbdtun_new", {}, 1]], "nbdtun_outage_age_seconds": 7})
    assert one.page() == own | {'channel_bytes_total{target="nbd"}': 11}
