from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve

from nbdtun.errors import ProtocolViolation
from nbdtun.migration.progress import DiskProgress, LinkState, Measures, MemoryProgress, Pause, Phase, Progress


def test_the_json_of_a_step() -> None:
    link = LinkState(3.4, 2, 1, None, 5.55)
    disks = (DiskProgress("vda", 10, 5),)
    progress = Progress(1.23456, 1.0, Phase.MIRROR, disks, MemoryProgress(7, 3), 99.9, 1.26, link, session="c6963ae0")
    assert progress.as_json() == {
        "time": 1.235,
        "elapsed": 1.0,
        "phase": "mirror",
        "disks": [{"node": "vda", "total": 10, "done": 5}],
        "ram": {"total": 7, "done": 3},
        "rate": 100,
        "eta": 1.3,
        "link": {
            "state": "lost",
            "lost_for": 3.4,
            "retry_for": 5.5,
            "silent_for": None,
            "outages": 0,
            "down": 0.0,
            "resumes": 2,
            "replayed": 1,
            "sent": 0,
        },
        "converge": {"lagging": [], "write_blocking": [], "throttle": 0, "passes": 0, "downtime_ms": None, "forced": False},
        "guest": "unknown",
        "session": "c6963ae0",
    }


def test_it_can_be_read_again() -> None:
    measures = Measures(lagging=("vda",), write_blocking=("vda", "b"), throttle=20, passes=4, downtime=0.6, forced=True)
    link = LinkState(3.5, 2, 1, None, 4.5, outages=3, down=7.5, sent=9)
    progress = Progress(1.0, 2.5, Phase.FAILED, (DiskProgress("a", 10, 5),), MemoryProgress(7, 3), 99, 1.5, link, measures)
    silent = Progress(1.0, 1.0, Phase.MIRROR, link=LinkState(silent_for=4.0))
    given_up = evolve(silent, phase=Phase.ROLLBACK, link=LinkState(given_up=True))
    held = evolve(silent, phase=Phase.HOLDING, switchover_at=1e9)
    for one in (
        held,
        progress,
        evolve(progress, error="e", code="c", downtime_ms=4.5, pause=Pause(0.001, 0.003, 0.0005)),
        silent,
        given_up,
    ):
        assert Progress.from_json(json.loads(json.dumps(one.as_json()))) == one


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "teleport"},
        {"rate": "fast"},
        {"rate": float("nan")},
        {"elapsed": -1},
        {"eta": 1e300},
        {"disks": [{"node": "vda"}]},
        {"disks": [{"node": 7, "total": 1, "done": 1}]},
        {"ram": None},
        {"link": []},
        {"converge": {"lagging": [7]}},
        {"error": ["no"]},
    ],
    ids=str,
)
def test_what_is_none_or_of_another_release_is_told_in_one_line(change: dict[str, Any]) -> None:
    report = Progress(1.0, 1.0, Phase.FAILED, error="e").as_json() | change
    with pytest.raises(ProtocolViolation, match=r"^the progress is malformed \(.*\); is it of another release of nbdtun\?$"):
        Progress.from_json(report)


@pytest.mark.parametrize("phase", Phase)
def test_only_the_last_one_has_an_outcome(phase: Phase) -> None:
    report = Progress(1.0, 1.0, phase, downtime_ms=5.0, pause=Pause(0.001, 0.003, 0.001, 0.0004), error="e", code="c").as_json()
    assert ("error" in report) is phase.final
    assert report["link"]["state"] == "up"
    assert ("downtime_ms" in report) is (phase.final or phase is Phase.SETTLE)
    if phase.final:
        assert (report["downtime_ms"], report["error"], report["code"]) == (5.0, "e", "c")
        assert report["pause_ms"] == {"drain": 1.0, "memory": 3.0, "handover": 1.0, "round_trip": 0.4}


def test_a_release_that_tells_no_round_trip() -> None:
    report = Progress(1.0, 1.0, Phase.COMPLETED, downtime_ms=5.0, pause=Pause(0.001, 0.003, 0.001, 0.5)).as_json()
    del report["pause_ms"]["round_trip"]
    assert Progress.from_json(report).pause == Pause(0.001, 0.003, 0.001)
    report["pause_ms"]["drain"] = None
    with pytest.raises(ProtocolViolation):
        Progress.from_json(report)


def test_a_release_that_tells_no_parts_of_the_downtime() -> None:
    report = Progress(1.0, 1.0, Phase.COMPLETED, downtime_ms=5.0).as_json()
    assert report["pause_ms"] is None
    del report["pause_ms"]
    assert Progress.from_json(report).downtime_ms == 5.0


@pytest.mark.parametrize(
    ("link", "state"),
    [
        (LinkState(), "up"),
        (LinkState(silent_for=3.0), "silent"),
        (LinkState(lost_for=0.1, given_up=True), "lost"),
        (LinkState(given_up=True), "given up"),
    ],
)
def test_the_link_is_in_one_of_four_states(link: LinkState, state: str) -> None:
    assert (link.state, link.up) == (state, state == "up")


def test_what_cannot_be_told_is_null() -> None:
    report = Progress(1.0, 1.0, Phase.MIRROR).as_json()
    assert (report["rate"], report["eta"]) == (None, None)
