"""How a whole migration on paper must have ended."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError

from nbdtun.errors import NbdtunError
from nbdtun.migration.progress import Phase, Progress
from tests.migration.stage.stage import Stage


def with_bitmaps() -> Stage:
    """A disk with a bitmap in its image, and one in memory."""
    stage = Stage()
    stage.source.driver = stage.destination.driver = "qcow2"
    stage.source.bitmaps = [{"node": "vda", "name": "b0", "persistent": True}, {"node": "vda", "name": "m0"}]
    return stage


def assert_at_source(stage: Stage, outcome: Any, error: type[BaseException] = NbdtunError) -> None:
    assert isinstance(outcome, error), outcome
    assert stage.running() == ["web1"]
    assert stage.leftovers() == []
    parameters = {name: value for name, value in stage.source.parameters.items() if name != "block-bitmap-mapping" or value}
    assert parameters == {"max-bandwidth": 128 << 20, "downtime-limit": 300, "multifd-channels": 2}
    assert not any(bitmap["name"].startswith("nbdtun-") for bitmap in stage.source.bitmaps)
    assert stage.reports[-1].phase is (Phase.CANCELLED if error is CancelledError else Phase.FAILED)


def assert_moved(stage: Stage, outcome: Any) -> None:
    assert isinstance(outcome, Progress), outcome
    assert stage.running() == ["web1 at the destination"]
    assert stage.leftovers() == []
