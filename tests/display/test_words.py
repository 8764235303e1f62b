"""The words and figures that all displays for people share."""

from __future__ import annotations

import pytest
from attrs import evolve

from nbdtun.display.words import OUTCOMES, PHASES, Row, clock_text, converge_words
from nbdtun.migration.progress import Measures, Phase
from tests.display.stage import GIB, MIRROR


@pytest.mark.parametrize(
    ("phase", "measures", "words"),
    [
        (Phase.MIRROR, Measures(), []),
        (Phase.MIRROR, Measures(lagging=("vda",)), ["vda is not converging"]),
        (Phase.MIRROR, Measures(lagging=("vda",), write_blocking=("vda",)), ["guest writes to vda wait for the copy"]),
        (Phase.RAM, Measures(write_blocking=("vda", "b"), passes=2), ["guest writes to vda, b wait for the copy"]),
        (Phase.RAM, Measures(passes=7, throttle=40, downtime=1.2), ["pass 7", "guest slowed by 40 %", "downtime up to 1.2 s"]),
        (Phase.RAM, Measures(passes=3, forced=True), ["pass 3", "guest paused"]),
    ],
)
def test_what_is_done_to_converge(phase: Phase, measures: Measures, words: list[str]) -> None:
    assert converge_words(evolve(MIRROR, phase=phase, converge=measures)) == words


def test_a_hundred_percent_only_when_nothing_is_left() -> None:
    assert Row("vda", GIB - 1, GIB).percentage == "99 %"
    assert Row("vda", GIB, GIB).percentage == "100 %"
    assert Row("vda", 2 * GIB, GIB).percentage == "100 %"
    assert Row("vda", 0, 0).percentage == "0 %"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


def test_every_phase_has_words() -> None:
    assert set(PHASES) == set(Phase)
    assert set(OUTCOMES) == {phase for phase in Phase if phase.final}
