"""Lines for a log: when there is one, and what it says."""

from __future__ import annotations

import io
import re

import pytest
from attrs import evolve

from nbdtun.display import make_display
from nbdtun.display.lines import Lines
from nbdtun.display.words import outcome
from nbdtun.migration.progress import DiskProgress, LinkState, Measures, Phase
from tests.display.stage import END, MIB, MIRROR, START


def lines() -> tuple[Lines, io.StringIO]:
    stream = io.StringIO()
    return Lines(stream, "web1"), stream


def said(stream: io.StringIO) -> str:
    """The lines without their times."""
    assert all(re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d ", line) for line in stream.getvalue().splitlines())
    return "".join(line[26:] for line in stream.getvalue().splitlines(keepends=True))


def test_a_line_says_what_a_picture_would() -> None:
    display, stream = lines()
    display.show(MIRROR)
    assert said(stream) == "web1: copying disks; vda 50 % of 10 GiB, data 100 % of 1 GiB; 400 MiB/s, 13 s left\n"


def test_what_is_done_to_converge_has_a_place_in_a_line() -> None:
    display, stream = lines()
    display.show(evolve(MIRROR, converge=Measures(write_blocking=("data",), forced=True)))
    assert stream.getvalue().endswith("400 MiB/s, 13 s left; guest writes to data wait for the copy, guest paused\n")


def test_a_line_for_each_phase_and_otherwise_one_in_ten_seconds() -> None:
    display, stream = lines()
    for elapsed in range(26):
        display.show(evolve(MIRROR, elapsed=float(elapsed)))
    assert stream.getvalue().count("\n") == 3
    display.show(evolve(MIRROR, elapsed=25.5, phase=Phase.READY))
    assert said(stream).splitlines()[3].startswith("web1: disks in sync;")


def test_a_line_when_the_link_goes_and_one_when_it_is_back() -> None:
    display, stream = lines()
    display.show(evolve(MIRROR, elapsed=1.0))
    display.show(evolve(MIRROR, elapsed=2.0, link=LinkState(lost_for=3.2)))
    display.show(evolve(MIRROR, elapsed=3.0, link=LinkState(lost_for=4.2)))
    display.show(evolve(MIRROR, elapsed=4.0, link=LinkState(resumes=2, replayed=34 * MIB, outages=1, down=5.0)))
    written = stream.getvalue().splitlines()
    assert len(written) == 3
    assert written[1].endswith("; link lost 3 s, retrying; web1 keeps running here")
    assert written[2].endswith("; link lost once for 5.0 s, 34 MiB sent again")


def test_the_last_line_is_the_summary() -> None:
    display, stream = lines()
    display.show(evolve(END, link=LinkState(resumes=2, replayed=MIB, outages=2, down=9.0, sent=2000 * MIB)))
    assert said(stream) == (
        "web1: runs at the destination; total 1 min, downtime 87 ms, 6 GiB of disks and 2 GiB of memory, 1.95 GiB sent at 33.3 MiB/s, "
        "link lost 2 times, for 9.0 s, 1 MiB sent again\n"
    )


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.CANCELLED, Phase.UNKNOWN])
def test_an_end_that_is_none_says_where_the_vm_is(phase: Phase) -> None:
    display, stream = lines()
    display.show(evolve(MIRROR, phase=phase, error="no space left"))
    assert said(stream).startswith(f"web1: {outcome(evolve(MIRROR, phase=phase))}; total 42 s, ")
    assert "no space left" not in stream.getvalue()  # its caller prints it, once


def test_a_log_that_has_the_time_is_not_told_it_again() -> None:
    stream = io.StringIO()
    Lines(stream, "web1", timed=False).show(MIRROR)
    assert stream.getvalue().startswith("web1: copying disks; ")


def test_no_control_characters_reach_a_log() -> None:
    stream = io.StringIO()
    display = make_display("bar", "we\x1bb1\n", stream)
    display.show(evolve(MIRROR, disks=(DiskProgress("v\x1b[2Jda\r", 1, 0),)))
    display.close()
    assert said(stream) == "we?b1: copying disks; v?[2Jda 0 % of 1 B; 400 MiB/s, 13 s left\n"


def test_a_migration_of_nothing_yet_has_a_line_too() -> None:
    display, stream = lines()
    display.show(START)
    assert said(stream) == "web1: preparing\n"
