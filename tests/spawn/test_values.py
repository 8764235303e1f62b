"""What a plan says of itself."""

from __future__ import annotations

import pytest

from nbdtun.migration.finding import Finding, Level
from tests.spawn.stage import PLAN, evolved


@pytest.mark.parametrize(("level", "fit"), [(Level.OK, True), (Level.WARNING, True), (Level.FAILURE, False)])
def test_one_failure_makes_it_unfit(level: Level, fit: bool) -> None:
    assert evolved(PLAN, findings=(Finding(Level.OK, "plan", "a"), Finding(level, "plan", "b"))).fit is fit
