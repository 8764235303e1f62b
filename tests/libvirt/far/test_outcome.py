from __future__ import annotations

import pytest

from nbdtun.libvirt.far.outcome import doubt, fate, is_gone
from nbdtun.libvirt.far.record import Begun
from nbdtun.libvirt.host import Domain
from nbdtun.libvirt.values import Fate
from tests.libvirt.stage import SESSION, UUID

BEGUN = Begun(UUID, "web1", SESSION)
HANDED = Begun(UUID, "web1", SESSION, handed_over=True)
ARRIVED = Begun(UUID, "web1", SESSION, handed_over=True, arrived=True)
DOUBTFUL = Begun(UUID, "web1", SESSION, handed_over=True, arrived=True, doubtful=True)


def domain(state: str, reason: str = "unknown", *, arrives: bool = False) -> Domain:
    return Domain("web1", UUID, state, reason, state not in ("shutoff",), arrives)


WAITS = domain("paused", "migration", arrives=True)
RUNS, PAUSED = domain("running", "migrated"), domain("paused", "user")
FAILED, OFF, SHUT_DOWN = domain("shutoff", "failed"), domain("shutoff"), domain("shutoff", "shutdown")


@pytest.mark.parametrize(("found", "gone"), [(None, True), (FAILED, True), (OFF, True), (SHUT_DOWN, False), (RUNS, False), (WAITS, False)])
def test_gone(found: Domain | None, gone: bool) -> None:
    assert is_gone(found) == gone


@pytest.mark.parametrize(
    ("begun", "found", "why"),
    [
        (BEGUN, None, ""),
        (BEGUN, WAITS, ""),
        (BEGUN, FAILED, ""),
        (BEGUN, RUNS, "its guest is running there"),
        (BEGUN, PAUSED, "its guest is paused there"),
        (BEGUN, SHUT_DOWN, "its guest is shutoff there"),
        (HANDED, None, "its guest was handed over, and may have run there"),
        (HANDED, FAILED, "its guest was handed over, and may have run there"),
        (HANDED, WAITS, ""),
        (HANDED, RUNS, "its guest is running there"),
    ],
)
def test_why_a_guest_may_have_run(begun: Begun, found: Domain | None, why: str) -> None:
    assert doubt(begun, found) == why


@pytest.mark.parametrize(
    ("begun", "found", "session", "told"),
    [
        (None, None, None, Fate()),
        (None, RUNS, None, Fate("running", "migrated", has_run=True)),
        (None, PAUSED, None, Fate("paused", "user", has_run=True)),
        (None, SHUT_DOWN, None, Fate("shutoff", "shutdown")),
        (BEGUN, None, None, Fate(begun=True)),
        (BEGUN, WAITS, None, Fate("paused", "migration", waits=True, begun=True)),
        (HANDED, WAITS, None, Fate("paused", "migration", waits=True, begun=True)),
        (HANDED, None, None, Fate(has_run=True, begun=True)),
        (ARRIVED, None, SESSION, Fate(has_run=True)),
        (DOUBTFUL, None, SESSION, Fate(has_run=True, doubtful=True)),
        (DOUBTFUL, RUNS, SESSION, Fate("running", "migrated", has_run=True)),
        (ARRIVED, None, "another", Fate()),
        (ARRIVED, None, None, Fate()),
        (ARRIVED, RUNS, "another", Fate("running", "migrated", has_run=True)),
    ],
)
def test_what_its_source_is_told(begun: Begun | None, found: Domain | None, session: str | None, told: Fate) -> None:
    assert fate(begun, found, session) == told
