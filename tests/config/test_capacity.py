"""How much a daemon takes on."""

from __future__ import annotations

import pytest

from nbdtun.config.capacity import MOST_WORKERS, WORKERS, migrations_workers, usable_cores, workers
from nbdtun.errors import ConfigError


@pytest.mark.parametrize(("cores", "count"), [(1, 1), (2, 1), (3, 1), (4, 2), (6, 3), (8, 4), (64, 4)])
def test_workers_for_a_machine(cores: int, count: int) -> None:
    assert workers(None, cores, None) == count
    assert workers(None, cores, ("it cannot", "")) == 1
    assert workers(7, cores, None) == 7


def test_what_is_asked_for_and_cannot_be_is_refused() -> None:
    assert workers(1, 8, ("it cannot", "leave it out")) == 1
    with pytest.raises(ConfigError, match="--workers 2: it cannot; leave it out"):
        workers(2, 8, ("it cannot", "leave it out"))
    with pytest.raises(ConfigError, match="65 is more than the 64 workers that there can be"):
        WORKERS.read(f"{MOST_WORKERS + 1}")
    with pytest.raises(ConfigError, match="is not a number"):
        WORKERS.read("0")
    assert WORKERS.read(f"{MOST_WORKERS}") == MOST_WORKERS


def test_a_migration_through_ssh_has_one_process() -> None:
    assert [migrations_workers(None, cores, through_ssh=False) for cores in (2, 8)] == [1, 4]
    assert [migrations_workers(3, 2, through_ssh=False), migrations_workers(1, 8, through_ssh=True)] == [3, 1]
    assert migrations_workers(None, 8, through_ssh=True) == 1
    with pytest.raises(ConfigError, match="--workers 3: one process makes the links through ssh; leave out one of the two"):
        migrations_workers(3, 8, through_ssh=True)


def test_the_cores_are_those_that_it_may_run_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {3, 5, 7} if pid == 0 else set())
    assert usable_cores() == 3
