"""Where the lines go when the terminal is gone."""

from __future__ import annotations

import os
import pty
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbdtun.cli import detached as module
from nbdtun.cli.detached import DetachedLog, Terminal, open_log
from nbdtun.process import gone


@pytest.fixture(autouse=True)
def _no_system_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "SYSLOG", tmp_path / "log")


class TestDetachedLog:
    def test_it_keeps_whole_lines(self) -> None:
        kept: list[str] = []
        log = DetachedLog("here", kept.append)
        print("one", file=log, end="")
        print(" and a half\n\n two", file=log, end="")
        assert kept == ["one and a half"]
        print("", file=log, flush=True)
        assert kept == ["one and a half", "two"]
        assert repr(log) == "<DetachedLog in here>"
        assert log.writable()

    def test_a_full_disk_is_no_reason_to_fail(self) -> None:
        def full(line: str) -> None:
            raise OSError(28, "No space left on device")

        print("lost", file=DetachedLog("here", full))


class TestOpening:
    def test_a_file_beside_the_run_directories(self, tmp_path: Path) -> None:
        base = tmp_path / "run"
        for text in ("one", "two"):
            log = open_log("web1", base)
            assert log.where == f"{base}/web1.log"
            print(text, file=log)
        lines = (base / "web1.log").read_text().splitlines()
        assert [line.split(f" nbdtun[{os.getpid()}]: ")[1] for line in lines] == ["one", "two"]
        assert stat.S_IMODE((base / "web1.log").stat().st_mode) == 0o600

    def test_the_system_log_where_there_is_one(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "log").touch()
        said: list[tuple[object, ...]] = []
        monkeypatch.setattr("syslog.openlog", lambda *arguments: said.append(arguments))
        monkeypatch.setattr("syslog.syslog", lambda *arguments: said.append(arguments))
        log = open_log("web1", tmp_path / "run")
        print("one", file=log)
        assert log.where == "the system log"
        assert [said[0][0], said[1][1]] == ["nbdtun", "one"]
        assert not (tmp_path / "run").exists()

    def test_a_link_of_somebody_elses_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "victim").touch()
        (tmp_path / "web1.log").symlink_to(tmp_path / "victim")
        log = open_log("web1", tmp_path)
        print("one", file=log)
        assert (log.where, (tmp_path / "victim").read_text()) == ("nowhere", "")


@pytest.fixture
def streams() -> Iterator[Callable[[int, int], None]]:
    """Puts other descriptors in the place of standard output and error."""
    kept, before = (os.dup(1), os.dup(2)), (sys.stdout, sys.stderr)

    def put(output: int, errors: int) -> None:
        os.dup2(output, 1)
        os.dup2(errors, 2)

    yield put
    put(*kept)
    for number in kept:
        os.close(number)
    sys.stdout, sys.stderr = before


class Log(DetachedLog):
    def __init__(self) -> None:
        self.kept: list[str] = []
        super().__init__("a list", self.kept.append)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    with (tmp_path / "file").open("w") as opened:
        yield opened.fileno()


def terminal() -> tuple[int, int]:
    ours, theirs = pty.openpty()
    return ours, theirs


class TestTerminal:
    def test_one_that_is_there_stays(self, streams: Callable[[int, int], None], file: int) -> None:
        ours, theirs = terminal()
        streams(theirs, theirs)
        present = Terminal(Log)
        assert not present.leave(lambda: None)
        assert (present.where, repr(present)) == (None, "<Terminal present>")
        os.close(ours)
        os.close(theirs)

    def test_one_that_is_gone_is_replaced_once(self, streams: Callable[[int, int], None]) -> None:
        ours, theirs = terminal()
        streams(theirs, theirs)
        log, released = Log(), []
        present = Terminal(lambda: log)
        os.close(theirs)
        os.close(ours)
        assert present.leave(lambda: released.append(sys.stderr))
        assert sys.stdout is sys.stderr is log
        assert released != [log]
        assert present.where == "a list"
        os.write(1, b"what was buffered")  # leads nowhere
        os.write(2, b"what was buffered")
        assert not present.leave(lambda: released.append(None))
        assert len(released) == 1

    def test_standard_error_in_a_file_stays_there(self, streams: Callable[[int, int], None], file: int) -> None:
        ours, theirs = terminal()
        streams(theirs, file)
        before, log = sys.stderr, Log()
        present = Terminal(lambda: log)
        os.close(theirs)
        os.close(ours)
        assert present.leave(lambda: None)
        assert sys.stderr is before
        assert sys.stdout is log

    def test_a_reader_of_the_output_may_go_away(self, streams: Callable[[int, int], None], file: int) -> None:
        reading, writing = os.pipe()
        streams(writing, file)
        present = Terminal(Log)
        os.close(writing)
        os.close(reading)
        assert gone(1)
        assert not present.leave(lambda: None)
        assert present.log is None

    def test_pipes_that_nobody_reads_any_more(self, streams: Callable[[int, int], None]) -> None:
        reading, writing = os.pipe()
        streams(writing, writing)
        present = Terminal(Log)
        os.close(writing)
        assert not present.leave(lambda: None)
        os.close(reading)
        assert present.leave(lambda: None)

    def test_json_for_a_program_goes_on(self, streams: Callable[[int, int], None], file: int) -> None:
        reading, writing = os.pipe()
        streams(file, writing)
        before, log = sys.stdout, Log()
        os.close(writing)
        os.close(reading)
        present = Terminal(lambda: log)
        assert not present.leave(lambda: None)
        assert sys.stdout is before
        assert sys.stderr is log
