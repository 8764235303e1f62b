"""What people and programs see of a migration, picture by picture."""

from __future__ import annotations

import io
import json
import re

import pytest
from attrs import evolve
from rich.console import Console

from nbdtun.display import Display, make_display
from nbdtun.display.bars import Bars
from nbdtun.display.lines import Lines
from nbdtun.display.words import OUTCOMES, PHASES, Pace, Row, clock_text, converge_words, printable
from nbdtun.errors import ConfigError
from nbdtun.migration.progress import DiskProgress, LinkState, Measures, MemoryProgress, Phase, Progress

GIB, MIB = 2**30, 2**20
START = Progress(time=1e9, elapsed=0.0, phase=Phase.PREPARE)
MIRROR = evolve(
    START,
    elapsed=42.0,
    phase=Phase.MIRROR,
    disks=(DiskProgress("vda", 10 * GIB, 5 * GIB), DiskProgress("data", GIB, GIB)),
    rate=400.0 * MIB,
    eta=12.8,
)
END = evolve(MIRROR, elapsed=60.0, phase=Phase.COMPLETED, ram=MemoryProgress(2 * GIB, 2 * GIB), rate=0.0, eta=None, downtime_ms=87.2)


def lines() -> tuple[Lines, io.StringIO]:
    stream = io.StringIO()
    return Lines(stream, "web1"), stream


# Lines.


def test_a_line_says_what_a_picture_would() -> None:
    display, stream = lines()
    display.show(MIRROR)
    assert stream.getvalue() == "web1: copying disks; vda 50 % of 10 GiB, data 100 % of 1 GiB; 400 MiB/s, 13 s left\n"


@pytest.mark.parametrize(
    ("phase", "measures", "words"),
    [
        (Phase.MIRROR, Measures(), []),
        (Phase.MIRROR, Measures(lagging=("vda",)), ["vda gets no closer"]),
        (Phase.MIRROR, Measures(lagging=("vda",), write_blocking=("vda",)), ["writes to vda wait"]),
        (Phase.RAM, Measures(write_blocking=("vda", "b"), passes=2), ["writes to vda, b wait"]),
        (Phase.RAM, Measures(passes=7, throttle=40, downtime=1.2), ["pass 7", "guest slowed by 40 %", "downtime up to 1.2 s"]),
        (Phase.RAM, Measures(passes=3, forced=True), ["pass 3", "guest paused"]),
    ],
)
def test_what_is_done_to_converge(phase: Phase, measures: Measures, words: list[str]) -> None:
    assert converge_words(evolve(MIRROR, phase=phase, converge=measures)) == words


def test_what_is_done_to_converge_has_a_place_in_a_line() -> None:
    display, stream = lines()
    display.show(evolve(MIRROR, converge=Measures(write_blocking=("data",), forced=True)))
    assert stream.getvalue().endswith("400 MiB/s, 13 s left; writes to data wait, guest paused\n")


def test_a_line_for_each_phase_and_otherwise_one_in_ten_seconds() -> None:
    display, stream = lines()
    for elapsed in range(26):
        display.show(evolve(MIRROR, elapsed=float(elapsed)))
    assert stream.getvalue().count("\n") == 3
    display.show(evolve(MIRROR, elapsed=25.5, phase=Phase.READY))
    assert stream.getvalue().splitlines()[3].startswith("web1: disks are in step;")


def test_a_line_when_the_link_goes_and_one_when_it_is_back() -> None:
    display, stream = lines()
    display.show(evolve(MIRROR, elapsed=1.0))
    display.show(evolve(MIRROR, elapsed=2.0, link=LinkState(lost_for=3.2)))
    display.show(evolve(MIRROR, elapsed=3.0, link=LinkState(lost_for=4.2)))
    display.show(evolve(MIRROR, elapsed=4.0, link=LinkState(resumes=1, replayed=34 * MIB)))
    written = stream.getvalue().splitlines()
    assert len(written) == 3
    assert written[1].endswith("; link lost 3 s, retrying")
    assert written[2].endswith("; 1 resume, 34 MiB replayed")


def test_the_last_line_is_the_summary() -> None:
    display, stream = lines()
    display.show(evolve(END, link=LinkState(resumes=2, replayed=MIB)))
    assert stream.getvalue() == (
        "web1: runs at the destination; total 1 min, downtime 87 ms, 8 GiB at 137 MiB/s, 2 resumes, 1 MiB replayed\n"
    )


@pytest.mark.parametrize("phase", [Phase.FAILED, Phase.CANCELLED, Phase.UNKNOWN])
def test_an_end_that_is_none_says_where_the_vm_is(phase: Phase) -> None:
    display, stream = lines()
    display.show(evolve(MIRROR, phase=phase, error="no space left"))
    assert stream.getvalue().startswith(f"web1: {OUTCOMES[phase]}; total 42 s, ")
    assert "no space left" not in stream.getvalue()  # its caller prints it, once


def test_no_control_characters_reach_a_log() -> None:
    stream = io.StringIO()
    display = make_display("bar", "we\x1bb1\n", stream)
    display.show(evolve(MIRROR, disks=(DiskProgress("v\x1b[2Jda\r", 1, 0),)))
    display.close()
    assert stream.getvalue() == "we?b1?: copying disks; v?[2Jda? 0 % of 1 B; 400 MiB/s, 13 s left\n"


def test_a_migration_of_nothing_yet_has_a_line_too() -> None:
    display, stream = lines()
    display.show(START)
    assert stream.getvalue() == "web1: preparing\n"


# Bars.


def terminal(width: int = 80, encoding: str = "utf-8") -> tuple[Bars, io.TextIOWrapper]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Bars(Console(file=stream, force_terminal=True, width=width, height=24, color_system=None, highlight=False), "web1"), stream


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode(stream.encoding)


def screen(stream: io.TextIOWrapper) -> list[str]:
    """The latest picture and what came after it, without control sequences."""
    latest = re.split(r"(?=web1  )", written(stream))[-1]
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", latest).replace("\r", "").splitlines()]


def run(display: Display, *progresses: Progress) -> None:
    for progress in progresses:
        display.show(progress)


def test_a_picture_of_80_columns() -> None:
    display, stream = terminal()
    before = evolve(MIRROR, elapsed=41.0, disks=(DiskProgress("vda", 10 * GIB, 5 * GIB - 400 * MIB), MIRROR.disks[1]))
    run(display, before, MIRROR)
    display.close()
    assert screen(stream) == [
        "web1  copying disks                                                         0:42",
        "  vda     ━━━━━━━━━━━━━━━━                   50 %        5 of 10 GiB   400 MiB/s",
        "  data    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  100 %              1 GiB",
        "  memory                                      0 %",
        "  400 MiB/s · 0:13 left",
    ]


def test_a_picture_of_120_columns_has_room_for_each_bars_rest() -> None:
    display, stream = terminal(120)
    before = evolve(MIRROR, elapsed=41.0, disks=(DiskProgress("vda", 10 * GIB, 5 * GIB - 400 * MIB), MIRROR.disks[1]))
    run(display, before, MIRROR)
    display.close()
    assert screen(stream)[1].endswith("   50 %        5 of 10 GiB   400 MiB/s     0:13")
    assert {len(line) for line in screen(stream)[:2]} == {120}


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("progress", [START, MIRROR, END, evolve(MIRROR, link=LinkState(3.0, 12, 34 * MIB))])
def test_no_line_is_wider_than_the_terminal(width: int, progress: Progress) -> None:
    display, stream = terminal(width)
    run(display, START, progress)
    display.close()
    assert max(len(line) for line in screen(stream)) <= min(width, 120)


def test_rows_stay_where_they_are() -> None:
    display, stream = terminal()
    heights = []
    for phase in (Phase.MIRROR, Phase.READY, Phase.RAM, Phase.SWITCHOVER, Phase.FINISH):
        display.show(evolve(MIRROR, phase=phase, ram=MemoryProgress(2 * GIB, GIB)))
        heights.append(len(screen(stream)))
    assert len(set(heights)) == 1


def test_a_lost_link_is_said_instead_of_a_rate_that_is_none() -> None:
    display, stream = terminal()
    run(display, evolve(MIRROR, elapsed=41.0), evolve(MIRROR, link=LinkState(lost_for=3.4, resumes=1, replayed=0)))
    assert screen(stream)[-1] == "  link lost 3 s, retrying · 1 resume, 0 B replayed"
    display.close()


def test_the_summary_follows_the_last_picture() -> None:
    display, stream = terminal()
    run(display, MIRROR, evolve(END, link=LinkState(resumes=2, replayed=34 * MIB)))
    assert screen(stream)[0].startswith("web1  completed ")
    assert screen(stream)[-3:] == [
        "✓ web1 runs at the destination",
        "  total 1 min · downtime 87 ms · 8 GiB at 137 MiB/s",
        "  2 resumes, 34 MiB replayed",
    ]


def test_without_unicode_there_are_other_marks() -> None:
    display, stream = terminal(encoding="ascii")
    run(display, START, END)
    assert "- web1 runs at the destination" in screen(stream)
    assert "  total 1 min, downtime 87 ms, 8 GiB at 137 MiB/s" in screen(stream)


@pytest.mark.parametrize("last", [MIRROR, END])
def test_the_cursor_comes_back(last: Progress) -> None:
    display, stream = terminal()
    run(display, START, last)
    display.close()
    display.close()
    display.show(MIRROR)
    assert written(stream).count("\x1b[?25l") == written(stream).count("\x1b[?25h") == 1
    assert written(stream).rindex("\x1b[?25h") > written(stream).rindex("\x1b[?25l")


def test_names_are_text_and_not_markup() -> None:
    display, stream = terminal()
    display.show(evolve(MIRROR, disks=(DiskProgress("[red]#block123", 10, 5), DiskProgress("n" * 40, 10, 5))))
    display.close()
    assert "  [red]#block123" in written(stream)
    assert f"  {'n' * 19}…  " in written(stream)


def test_a_hundred_percent_only_when_nothing_is_left() -> None:
    assert Row("vda", GIB - 1, GIB).percentage == "99 %"
    assert Row("vda", GIB, GIB).percentage == "100 %"
    assert Row("vda", 2 * GIB, GIB).percentage == "100 %"
    assert Row("vda", 0, 0).percentage == "0 %"


def test_pace_is_smooth_and_never_negative() -> None:
    pace = Pace()
    pace.update(0.0, 0)
    assert pace.rate is None
    pace.update(1.0, 100)
    assert pace.rate == 100.0
    pace.update(1.0, 500)  # no time has passed: nothing is learned
    assert pace.rate == 100.0
    pace.update(2.0, 400)
    assert 100.0 < pace.rate < 300.0
    for second in range(3, 40):
        pace.update(float(second), 0)
    assert 0.0 <= pace.rate < 1.0


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (7.4, "0:07"), (59.6, "1:00"), (754, "12:34"), (3723, "1:02:03")])
def test_clock(seconds: float, text: str) -> None:
    assert clock_text(seconds) == text


def test_every_phase_has_words() -> None:
    assert set(PHASES) == set(Phase)
    assert set(OUTCOMES) == {phase for phase in Phase if phase.final}
    assert printable("ä ok") == "ä ok"


# JSON, nothing, and which of them.


def test_json_is_one_object_a_line() -> None:
    stream = io.StringIO()
    display = make_display("json", "web1", stream)
    run(display, START, MIRROR, END)
    display.close()
    parsed = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert parsed == [START.as_json(), MIRROR.as_json(), END.as_json()]
    assert [each["phase"] for each in parsed] == ["prepare", "mirror", "completed"]
    assert parsed[-1]["downtime_ms"] == 87.2


def test_json_is_flushed_at_once() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, write_through=False)
    make_display("json", stream=stream).show(START)
    assert raw.getvalue().endswith(b"}\n")


def test_none_is_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    display = make_display("none", "web1")
    run(display, START, END)
    display.close()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_bars_and_a_dumb_one_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for term, seen in (("xterm-256color", "\x1b["), ("dumb", "web1: preparing\n")):
        monkeypatch.setenv("TERM", term)
        stream = Terminal()
        display = make_display("bar", "web1", stream)
        display.show(START)
        display.close()
        assert seen in stream.getvalue()


def test_no_other_kind() -> None:
    with pytest.raises(ConfigError, match="'bars' is not a kind of progress display: it is one of bar, json, none"):
        make_display("bars")


@pytest.mark.parametrize("kind", ["json", "bar"])
def test_a_reader_that_goes_away_does_not_end_a_migration(kind: str) -> None:
    class Closed(io.StringIO):
        writes = 0

        def write(self, text: str) -> int:
            self.writes += 1
            raise BrokenPipeError(32, "Broken pipe")

    stream = Closed()
    display = make_display(kind, "web1", stream)
    run(display, START, MIRROR, END)
    display.close()
    assert stream.writes == 1
