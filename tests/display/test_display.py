"""Which display there is, and what all have in common: JSON for programs, nothing, and readers that go away."""

from __future__ import annotations

import io
import json

import pytest

from nbdtun.display import make_display
from nbdtun.errors import ConfigError
from nbdtun.migration.progress import Pause, Phase, Progress
from tests.display.stage import END, MIRROR, START, run


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
    with pytest.raises(ConfigError, match="'bars' is not a kind of progress display: use one of bar, json, final, none"):
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


@pytest.mark.parametrize("verbose", [False, True])
def test_a_verbose_one_ends_with_the_parts_of_the_downtime(verbose: bool) -> None:
    stream = io.StringIO()
    display = make_display("bar", "web1", stream, verbose=verbose)
    display.show(Progress(1.0, 1.0, Phase.COMPLETED, downtime_ms=68.0, pause=Pause(0.012, 0.03, 0.026, 0.0003)))
    parts = "the disks' last writes 12 ms, the last of the memory 30 ms, the handover 26 ms, a round trip is 0.3 ms"
    assert (parts in stream.getvalue()) is verbose
