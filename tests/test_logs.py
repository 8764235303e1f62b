"""Loggers, and what an import of nbdtun leaves alone: the process belongs to the application."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import FileLogObserver, LogEvent, LogLevel, formatEvent, formatEventAsClassicLogText, globalLogPublisher
from twisted.python.failure import Failure

from nbdtun.errors import MirrorFailed
from nbdtun.logs import PROGRESS, about, make_logger, make_named, traced

ROOT = Path(__file__).parent.parent

IMPORT = """
import os, resource, signal, sys
signals = {number: signal.getsignal(number) for number in signal.valid_signals()}
files, umask = resource.getrlimit(resource.RLIMIT_NOFILE), os.umask(0o22)
import txaio
from nbdtun.PACKAGE import *  # each name, and so each module
assert not txaio.using_twisted and not txaio.using_asyncio
assert "twisted.internet.reactor" not in sys.modules
assert signals == {number: signal.getsignal(number) for number in signal.valid_signals()}
assert files == resource.getrlimit(resource.RLIMIT_NOFILE)
assert umask == os.umask(0o22)
txaio.use_asyncio()
assert txaio.using_asyncio
"""


class Somebody:
    log = make_logger()


@pytest.fixture
def written() -> Iterator[StringIO]:
    """What twistd would write into its log, without the time."""
    file = StringIO()
    observer = FileLogObserver(file, lambda event: formatEventAsClassicLogText(event, lambda _: "-"))
    globalLogPublisher.addObserver(observer)
    yield file
    globalLogPublisher.removeObserver(observer)


def test_a_logger_is_called_as_its_class(said: list[str]) -> None:
    assert Somebody.log._logger.namespace == f"{__name__}.Somebody"
    Somebody.log.debug("nobody has asked")
    Somebody.log.info("{number} of {all}", number=1, all=2)
    assert said == ["1 of 2"]


HOSTILE = "no\x1b]0;owned\x07\n2026-11-29 [nbdtun] all is well\u202e"
SHOWN = "no?]0;owned? 2026-11-29 [nbdtun] all is well?"


class Rude:
    def __repr__(self) -> str:
        return HOSTILE


@pytest.mark.parametrize("value", [HOSTILE, ValueError(HOSTILE), Rude(), MirrorFailed(HOSTILE)])
@pytest.mark.parametrize("level", ["info", "warn", "error"])
def test_a_line_of_the_log_is_one_line(written: StringIO, level: str, value: object) -> None:
    getattr(Somebody.log, level)("it said: {value}", value=value)
    assert written.getvalue() == f"- [{__name__}.Somebody#{level}] it said: {SHOWN}\n"


def test_numbers_stay_numbers(written: StringIO) -> None:
    Somebody.log.info("{count:03} {seconds:.1f} {nothing} {sure}", count=7, seconds=0.25, nothing=None, sure=True)
    assert written.getvalue().endswith("007 0.2 None True\n")


def test_a_line_is_bounded(written: StringIO) -> None:
    Somebody.log.info("{text}", text="x" * 100_000)
    assert len(written.getvalue()) < 5000


def fail() -> None:
    raise ValueError(HOSTILE)


def test_a_traceback_has_lines_of_its_own_only(written: StringIO) -> None:
    try:
        fail()
    except ValueError:
        Somebody.log.failure("a bug at {value}", level=LogLevel.error, value=HOSTILE)
    lines = written.getvalue().splitlines()
    assert lines[0].endswith(f"a bug at {SHOWN}")
    assert f"\tbuiltins.ValueError: {SHOWN}" in lines
    assert written.getvalue().replace("\n", "").replace("\t", "").isprintable()
    assert not [line for line in lines[1:] if not line.startswith("\t")]


def test_a_failure_is_still_what_it_was() -> None:
    failure = Failure(MirrorFailed("full"))
    assert traced(failure).value is failure.value
    assert traced(failure).check(MirrorFailed)


@pytest.mark.parametrize("package", ["service", "config"])
def test_an_import_leaves_the_process_as_it_is(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT.replace("PACKAGE", package)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_what_lines_are_about_is_in_all_of_a_coroutine(events: list[LogEvent]) -> None:
    """Also after it has waited, while others have their own; and in what it begins."""
    waits: dict[str, Deferred[None]] = {vm: Deferred() for vm in ("web1", "web2")}

    async def inner() -> None:
        Somebody.log.info("{vm}: inner")

    async def work(vm: str) -> None:
        with about(vm=vm, session="c6963ae0"):
            await waits[vm]
            Somebody.log.info("{vm}: outer", session="other", peer="a\nb")
            await Deferred.fromCoroutine(inner())
        Somebody.log.info("after")

    for vm in waits:
        Deferred.fromCoroutine(work(vm))
    for vm in reversed(waits):
        waits[vm].callback(None)
    assert [(formatEvent(event), event.get("session"), event.get("peer")) for event in events] == [
        ("web2: outer", "other", "a b"),
        ("web2: inner", "c6963ae0", None),
        ("after", None, None),
        ("web1: outer", "other", "a b"),
        ("web1: inner", "c6963ae0", None),
        ("after", None, None),
    ]


def test_a_logger_with_a_name(events: list[LogEvent]) -> None:
    make_named(PROGRESS).info("{vm}: mirror", vm="web1\n")
    assert (events[0]["log_namespace"], formatEvent(events[0])) == ("nbdtun.progress", "web1: mirror")
