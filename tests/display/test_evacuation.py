"""An evacuation on a terminal, in a log, and for programs."""

from __future__ import annotations

import io
import json

from attrs import evolve

from nbdtun.display.evacuation import cells, make_display, summary, words
from nbdtun.evacuation.life import State
from nbdtun.evacuation.overview import Overview
from nbdtun.evacuation.values import Entry, Move
from nbdtun.migration.progress import DiskProgress, LinkState, Phase, Progress

GIB = 1 << 30
WEB1 = Entry(Move("web1", "", "hv2", ("hv2",), GIB, 3 * GIB))
MIRROR = Progress(10.0, 5.0, Phase.MIRROR, (DiskProgress("vda", 4 * GIB, GIB),), rate=float(100 << 20), eta=30.0)


def in_state(state: State, **more: object) -> Entry:
    return evolve(WEB1, state=state, **more)  # type: ignore[arg-type]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_row() -> None:
    assert cells(in_state(State.COPYING, to="hv2"), MIRROR) == ("web1", "hv2", "copying disks", "25 %", "100 MiB/s", "0:30", "")
    lost = evolve(MIRROR, link=LinkState(lost_for=3.0, resumes=2))
    assert cells(in_state(State.COPYING, resumes=1), lost)[2:] == ("copying disks, link lost", "25 %", "", "", "3")
    assert cells(WEB1, None) == ("web1", "hv2", "waits", "", "", "", "")


def test_what_became_of_one() -> None:
    why = {"code": "mirror", "reason": "it broke", "failures": 2}
    assert words(in_state(State.MOVED, to="hv3", downtime=87), None) == "runs at hv3, after a downtime of 87 ms"
    assert words(in_state(State.STAYED, **why), None) == "stays here: it broke [mirror]"
    assert words(in_state(State.WAITING, **why), None) == "waits, 2 failed: it broke [mirror]"
    assert words(in_state(State.UNKNOWN, **why), None) == "unknown: it broke [mirror]"


def test_all_together() -> None:
    overview = Overview(1.0, (WEB1, in_state(State.COPYING)), {"web1": MIRROR}, stopping=True, open=False)
    assert summary(overview) == "1 waiting, 1 copying, 100 MiB/s, 4 GiB not begun, guests wait for the window, no more VMs begin"
    assert summary(Overview(1.0, (), over=True)) == "there is no VM to move"


def test_a_log_has_each_change_once() -> None:
    stream = io.StringIO()
    display = make_display("table", stream)
    for state, time in ((State.WAITING, 0.0), (State.COPYING, 1.0), (State.COPYING, 2.0), (State.MOVED, 3.0)):
        display.show(Overview(time, (in_state(state, to="hv2"),), over=state.over))
    display.close()
    said = [line.split(" ", 2)[2] for line in stream.getvalue().splitlines()]
    assert said == ["1 waiting, 4 GiB not begun", "web1: begins", "web1: runs at hv2", "1 moved"]


def test_a_terminal_has_a_table_that_stays() -> None:
    stream = Terminal()
    display = make_display("table", stream)
    display.show(Overview(1.0, (in_state(State.COPYING, to="hv2"), evolve(WEB1, move=Move("db\x1b[31m1", ""))), {"web1": MIRROR}))
    display.close()
    display.close()
    assert "copying disks" in stream.getvalue()
    assert "db\x1b[31m1" not in stream.getvalue()


def test_programs_get_an_object_a_second_and_the_last() -> None:
    stream = io.StringIO()
    display = make_display("json", stream)
    for time in (0.0, 0.5, 1.0, 1.2):
        display.show(Overview(time, (WEB1,), over=time == 1.2))
    display.close()
    assert [json.loads(line)["time"] for line in stream.getvalue().splitlines()] == [0.0, 1.0, 1.2]


def test_nothing(capsys: object) -> None:
    stream = io.StringIO()
    display = make_display("none", stream)
    display.show(Overview(1.0, (WEB1,)))
    display.close()
    assert stream.getvalue() == ""
