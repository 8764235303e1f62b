"""A process of its own; here it is no QEMU."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.spawn.far.host import own_name
from nbdtun.spawn.far.start import LOG, start
from nbdtun.spawn.values import Plan
from tests.spawn.stage import PLAN, evolved


def plan(tmp_path: Path, *words: str) -> Plan:
    return evolved(PLAN, qmp=str(tmp_path / "q"), arguments=words, user=own_name())


def test_it_is_apart_and_is_ended(tmp_path: Path) -> None:
    started = start(plan(tmp_path, "60"), "/bin/sleep", "x")
    try:
        assert not started.has_ended()
        assert os.getsid(started.pid) == started.pid
    finally:
        started.end()
    assert started.has_ended()


def test_its_last_words(tmp_path: Path) -> None:
    started = start(plan(tmp_path, "-c", "echo one; echo two >&2; exit 1"), "/bin/sh", "x")
    while not started.has_ended():
        time.sleep(0.01)
    assert started.last_words() == "two"
    assert (tmp_path / f"q{LOG}").read_text() == "one\ntwo\n"
    started.end()


def test_what_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(NotMigratable, match="/gone cannot be started: No such file"):
        start(plan(tmp_path), "/gone", "x")
