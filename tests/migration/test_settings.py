from __future__ import annotations

import pytest

from nbdtun.errors import ConfigError
from nbdtun.migration.settings import MigrationSettings, StepTimeouts


def test_the_defaults() -> None:
    settings = MigrationSettings(vm="web1")
    assert (settings.disks, settings.bandwidth, settings.downtime, settings.keep_source) == (None, None, 0.3, False)
    assert settings.steps.farewell < settings.steps.undo


@pytest.mark.parametrize(("name", "value"), [("bandwidth", 0), ("downtime", -1), ("reconnect_delay", 0)])
def test_what_must_be_more_than_nothing(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"{name.replace('_', ' ')} must be more than 0, not {value}"):
        MigrationSettings(vm="web1", **{name: value})  # type: ignore[arg-type]


def test_no_wait_is_without_an_end() -> None:
    with pytest.raises(ConfigError, match="complete must be more than 0"):
        StepTimeouts(complete=0)
