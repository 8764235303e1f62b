from __future__ import annotations

import pytest

from nbdtun.migration.progress import DiskProgress, LinkState, MemoryProgress, Phase, Progress


def test_the_json_of_a_step() -> None:
    progress = Progress(1.23456, 1.0, Phase.MIRROR, (DiskProgress("vda", 10, 5),), MemoryProgress(7, 3), 99.9, 1.26, LinkState(3.4, 2, 1))
    assert progress.as_json() == {
        "time": 1.235,
        "phase": "mirror",
        "disks": [{"node": "vda", "total": 10, "done": 5}],
        "ram": {"total": 7, "done": 3},
        "rate": 100,
        "eta": 1.3,
        "link": {"state": "link lost 3 s, retrying", "resumes": 2, "replayed": 1},
    }


@pytest.mark.parametrize("phase", Phase)
def test_only_the_last_one_has_an_outcome(phase: Phase) -> None:
    report = Progress(1.0, 1.0, phase, downtime_ms=5.0, error="e", code="c").as_json()
    assert ("error" in report) is phase.final
    assert report["link"]["state"] == "up"
    if phase.final:
        assert (report["downtime_ms"], report["error"], report["code"]) == (5.0, "e", "c")
