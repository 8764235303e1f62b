"""The words and figures that all displays for people share."""

from __future__ import annotations

from datetime import datetime

import pytest
from attrs import evolve

from nbdtun.display.words import (
    OUTCOMES,
    PHASES,
    Row,
    clock_text,
    converge_words,
    link_words,
    outcome,
    pause_words,
    phase_words,
    rows,
    summary_words,
)
from nbdtun.migration.progress import DiskProgress, GuestState, LinkState, Measures, Pause, Phase
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


@pytest.mark.parametrize(
    ("phase", "link", "words"),
    [
        (Phase.MIRROR, LinkState(), []),
        (Phase.MIRROR, LinkState(lost_for=26.0, retry_for=274.0), ["link lost 26 s, retrying for 4:34 more", "web1 keeps running here"]),
        (Phase.SWITCHOVER, LinkState(lost_for=2.0, retry_for=60.0), ["link lost 2 s, retrying for 1:00 more"]),
        (Phase.MIRROR, LinkState(silent_for=5.2), ["nothing from the destination for 5 s"]),
        (Phase.ROLLBACK, LinkState(given_up=True), ["the link is given up"]),
        (Phase.FAILED, LinkState(given_up=True, outages=1, down=8.0), ["link lost once for 8.0 s"]),
        (Phase.MIRROR, LinkState(outages=3, down=24.0, replayed=1024), ["link lost 3 times, for 24 s, 1 KiB sent again"]),
    ],
)
def test_the_link(phase: Phase, link: LinkState, words: list[str]) -> None:
    assert link_words(evolve(MIRROR, phase=phase, link=link), "web1") == words


@pytest.mark.parametrize("guest", [GuestState.PAUSED, GuestState.UNKNOWN])
def test_a_guest_that_was_paused_does_not_run_here(guest: GuestState) -> None:
    assert link_words(evolve(MIRROR, link=LinkState(lost_for=2.0), guest=guest), "web1") == ["link lost 2 s, retrying"]


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.CANCELLED])
@pytest.mark.parametrize(
    ("guest", "words"),
    [
        (GuestState.RUNS, "was not migrated; it is still running at the source"),
        (GuestState.PAUSED, "was not migrated; it is paused at the source"),
        (GuestState.UNKNOWN, "was not migrated"),
    ],
)
def test_where_the_vm_is_that_stays(phase: Phase, guest: GuestState, words: str) -> None:
    assert outcome(evolve(MIRROR, phase=phase, guest=guest)) == words


def test_what_its_guest_did_here_is_no_matter_once_it_is_there() -> None:
    assert outcome(evolve(MIRROR, phase=Phase.COMPLETED, guest=GuestState.RUNS)) == "runs at the destination"


@pytest.mark.parametrize("phase", [Phase.READY, Phase.RAM, Phase.SWITCHOVER, Phase.COMPLETED])
def test_a_disk_that_is_in_sync_stays_so(phase: Phase) -> None:
    written = evolve(MIRROR, phase=phase, disks=(DiskProgress("vda", 2 * GIB, GIB),))
    assert next((row.percentage, row.complete) for row in rows(written)) == ("100 %", True)
    assert not next(iter(rows(evolve(written, phase=Phase.MIRROR)))).complete


def test_the_summary_tells_what_was_copied_from_what_was_sent() -> None:
    assert summary_words(evolve(MIRROR, elapsed=0.5, link=LinkState(sent=3 * GIB))) == ["total 500 ms", "6 GiB of disks", "3 GiB sent"]


def test_every_phase_has_words() -> None:
    assert set(PHASES) == set(Phase)
    assert set(OUTCOMES) == {phase for phase in Phase if phase.final}


def test_a_migration_that_is_held_says_until_when() -> None:
    held = evolve(MIRROR, phase=Phase.HOLDING, time=datetime(2026, 12, 23, 22, 30).timestamp())
    assert phase_words(held) == "holding until told"
    assert phase_words(evolve(held, switchover_at=datetime(2026, 12, 24, 2, 0).timestamp())) == "holding until 02:00"
    assert phase_words(MIRROR) == "copying disks"


def test_the_parts_of_the_downtime() -> None:
    assert pause_words(MIRROR) == []
    ended = evolve(MIRROR, phase=Phase.COMPLETED, pause=Pause(0.012, 0.03, 0.026))
    assert pause_words(ended) == ["the disks' last writes 12 ms", "the last of the memory 30 ms", "the handover 26 ms"]
    assert pause_words(evolve(ended, pause=Pause(0.012, 0.03, 0.026, 0.0003)))[-1] == "a round trip is 0.3 ms"
