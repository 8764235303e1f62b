from __future__ import annotations

import pytest

from nbdtun.errors import ConfigError
from nbdtun.migration.progress import Phase
from nbdtun.migration.timeouts import Timeouts


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (
            {"phases": {Phase.FINISH: 1.0}},
            "phase finish cannot have a time limit; use one of prepare, mirror, ready, holding, ram, switchover",
        ),
        ({"phases": {Phase.RAM: 0.0}}, "the timeout of phase ram must be more than 0, not 0"),
        ({"total": 0.0}, "total timeout must be more than 0, not 0"),
        ({"stall": -1.0}, "stall timeout must be more than 0, not -1"),
    ],
)
def test_limits_that_cannot_be(settings: dict[str, object], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Timeouts(**settings)  # type: ignore[arg-type]
    assert str(caught.value) == line
