"""What the end of a process means for its VM."""

from __future__ import annotations

import pytest
from attrs import evolve

from nbdtun.evacuation.outcome import Fate, of_migration, of_settlement
from nbdtun.evacuation.values import Entry, Move
from nbdtun.migration.progress import LinkState, Phase, Progress

ENTRY = Entry(Move("web1", "/run/web1.qmp"), code="stall", reason="nothing moved")


def last(phase: Phase, code: str | None = None) -> Progress:
    return Progress(time=1.0, elapsed=1.0, phase=phase, code=code, error=code and f"about {code}", link=LinkState(resumes=2))


@pytest.mark.parametrize(
    ("phase", "code", "fate"),
    [
        (Phase.COMPLETED, None, Fate.ARRIVED),
        (Phase.FAILED, "timeout", Fate.HERE),
        (Phase.CANCELLED, None, Fate.HERE),
        (Phase.LOST, "guest-lost", Fate.LOST),
        (Phase.UNKNOWN, "unknown", Fate.UNKNOWN),
        (Phase.MIRROR, None, Fate.UNKNOWN),
    ],
)
def test_a_migration(phase: Phase, code: str | None, fate: Fate) -> None:
    assert of_migration(last(phase, code), "").fate is fate


def test_its_figures_and_words() -> None:
    told = of_migration(evolve(last(Phase.COMPLETED), downtime_ms=41.6), "")
    assert (told.downtime, told.resumes) == (42, 2)
    assert of_migration(last(Phase.CANCELLED), "").code == "cancelled"


def test_a_killed_one_is_unknown_and_its_last_words_are_kept() -> None:
    assert of_migration(None, "web1: disk vda is not converging").reason == "web1: disk vda is not converging"
    assert of_migration(None, "").code == "killed"
    assert of_settlement(ENTRY, None, "").fate is Fate.UNKNOWN


def test_an_answer_that_it_is_here_keeps_the_reason_of_the_failure() -> None:
    told = of_settlement(ENTRY, last(Phase.FAILED, "migration"), "")
    assert (told.fate, told.code, told.reason) == (Fate.HERE, "stall", "nothing moved")


@pytest.mark.parametrize(
    ("phase", "code", "fate"),
    [
        (Phase.FAILED, "monitor", Fate.GONE),
        (Phase.FAILED, "libvirt", Fate.GONE),
        (Phase.FAILED, "link-lost", Fate.UNKNOWN),
        (Phase.FAILED, "not-migratable", Fate.UNKNOWN),  # another tool has moved it, or another process works on it
        (Phase.CANCELLED, None, Fate.UNKNOWN),
        (Phase.UNKNOWN, "unknown", Fate.UNKNOWN),
        (Phase.COMPLETED, None, Fate.ARRIVED),
        (Phase.LOST, "guest-lost", Fate.LOST),
    ],
)
def test_other_answers(phase: Phase, code: str | None, fate: Fate) -> None:
    assert of_settlement(ENTRY, last(phase, code), "").fate is fate
