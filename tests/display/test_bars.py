"""Live bars, picture by picture."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from attrs import evolve
from rich.console import Console

from nbdtun.display.bars import Bars
from nbdtun.migration.progress import DiskProgress, LinkState, MemoryProgress, Pause, Phase, Progress
from tests.display.stage import END, GIB, MIB, MIRROR, START, run


def terminal(width: int = 80, encoding: str = "utf-8", colours: Any = None) -> tuple[Bars, io.TextIOWrapper]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Bars(Console(file=stream, force_terminal=True, width=width, height=24, color_system=colours, highlight=False), "web1"), stream


def written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    raw = stream.buffer
    assert isinstance(raw, io.BytesIO)
    return raw.getvalue().decode(stream.encoding)


def screen(stream: io.TextIOWrapper) -> list[str]:
    """The latest picture and what came after it, without control sequences."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written(stream)).replace("\r", "")
    return [line.rstrip() for line in re.split(r"(?=web1  )", plain)[-1].splitlines()]


def test_a_picture_of_80_columns() -> None:
    display, stream = terminal(colours="standard")
    run(display, MIRROR)
    display.close()
    assert screen(stream) == [
        "web1  copying disks                                                         0:42",
        "  vda     ━━━━━━━━━━━━━━━━━━━━━━╺━━━━━━━━━━━━━━━━━━━━━   50 %        5 of 10 GiB",
        "  data    ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━  100 %              1 GiB",
        "  memory  ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━    0 %",
        "  400 MiB/s · 0:13 left",
    ]


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_without_colours_a_bar_tells_done_from_to_do(encoding: str) -> None:
    display, stream = terminal(encoding=encoding)
    run(display, MIRROR)
    display.close()
    assert screen(stream)[1:4] == [
        "  vda     =====================>......................   50 %        5 of 10 GiB",
        "  data    ============================================  100 %              1 GiB",
        "  memory  ............................................    0 %",
    ]


def test_a_narrow_picture_has_whole_figures() -> None:
    display, stream = terminal(30)
    run(display, MIRROR)
    display.close()
    assert screen(stream)[1:4] == [
        "  vda   50 %       5 of 10 GiB",
        "  data 100 %             1 GiB",
        "  mem…   0 %",
    ]


def test_a_picture_is_120_columns_wide_at_most() -> None:
    display, stream = terminal(200)
    run(display, MIRROR)
    display.close()
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
    assert screen(stream)[-1] == "  link lost 3 s, retrying · web1 keeps running here"
    display.close()


def test_silence_and_the_way_back_are_said() -> None:
    display, stream = terminal()
    display.show(evolve(MIRROR, link=LinkState(silent_for=5.0)))
    assert screen(stream)[-1] == "  nothing from the destination for 5 s"
    display.show(evolve(MIRROR, phase=Phase.ROLLBACK, rate=None, eta=None, link=LinkState(given_up=True)))
    assert screen(stream)[0].startswith("web1  rolling back")
    assert screen(stream)[-1] == "  the link is given up"
    display.close()


def test_the_summary_follows_the_last_picture() -> None:
    display, stream = terminal()
    run(display, MIRROR, evolve(END, link=LinkState(outages=1, down=8.2, replayed=34 * MIB, sent=3 * GIB)))
    assert screen(stream)[0].startswith("web1  completed ")
    assert screen(stream)[-4:] == [
        "✓ web1 runs at the destination",
        "  total 1 min · downtime 87 ms",
        "  6 GiB of disks and 2 GiB of memory · 3 GiB sent at 51.2 MiB/s",
        "  link lost once for 8.2 s, 34 MiB sent again",
    ]


def test_without_unicode_there_are_other_marks() -> None:
    display, stream = terminal(encoding="ascii")
    run(display, START, END)
    assert "- web1 runs at the destination" in screen(stream)
    assert "  total 1 min, downtime 87 ms" in screen(stream)


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


def test_a_verbose_one_ends_with_the_parts_of_the_downtime() -> None:
    stream = io.StringIO()
    bars = Bars(Console(file=stream, width=120, highlight=False), "web1", verbose=True)
    bars.show(evolve(MIRROR, phase=Phase.COMPLETED, pause=Pause(0.012, 0.03, 0.026)))
    assert "the disks' last writes 12 ms" in stream.getvalue()
