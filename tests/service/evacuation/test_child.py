"""The process of a migration: alive or not, whoever has started it, and what it leaves."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from nbdtun.evacuation.journal import Journal
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Entry, Move
from nbdtun.migration.progress import Phase
from nbdtun.service.evacuation import child
from nbdtun.service.evacuation.child import Child

#: In the place of nbdtun: waits, then says what its last word is.
STAND_IN = """
import json, sys, time
words = sys.argv[2:]
print("nbdtun: web1: it broke [mirror]", file=sys.stderr, flush=True)
time.sleep(float(words[0]))
print(json.dumps({"time": 1, "elapsed": 1, "phase": "failed", "error": "it broke", "code": "mirror"}), flush=True)
"""

#: A process that starts one, and is killed.
ENGINE = """
import sys, time
from pathlib import Path
from nbdtun.service.evacuation import child
child._itself = lambda: [sys.executable, "-c", sys.argv[2]]
made = child.Child(Path(sys.argv[1]), "web1", 1)
made.start(["0.5"])
print("started", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_itself", lambda: [sys.executable, "-c", STAND_IN])


def ended(one: Child) -> None:
    end = time.monotonic() + 20
    while one.alive:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_its_last_word(tmp_path: Path) -> None:
    one = Child(tmp_path, "web1", 3)
    one.start(["0"])
    ended(one)
    last = one.last()
    assert last is not None
    assert (last.phase, last.code) == (Phase.FAILED, "mirror")
    assert one.said() == "web1: it broke [mirror]"
    one.forget()
    assert list(tmp_path.iterdir()) == []
    assert (one.last(), one.said(), Child(tmp_path, "web1", 3).alive) == (None, "", False)


def test_another_process_sees_whether_it_lives(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ENGINE, tmp_path, STAND_IN], stdout=subprocess.PIPE) as engine:
        assert engine.stdout is not None
        engine.stdout.readline()
        adopted = Child(tmp_path, "web1", 1)
        engine.send_signal(signal.SIGKILL)
        engine.wait()
        assert adopted.alive
    ended(adopted)
    last = adopted.last()
    assert last is not None
    assert last.code == "mirror"


def test_one_that_was_killed_has_no_last_word(tmp_path: Path) -> None:
    one = Child(tmp_path, "web1", 1)
    one.start(["60"])
    assert one._process is not None
    one._process.kill()
    ended(one)
    assert one.last() is None


def test_a_torn_last_line_is_none(tmp_path: Path) -> None:
    one = Child(tmp_path, "web1", 1)
    one.output.write_text('{"time": 1, "ela')
    assert one.last() is None
    assert not one.alive


def test_a_lock_is_what_counts(tmp_path: Path) -> None:
    one = Child(tmp_path, "web1", 1)
    one.output.touch()
    descriptor = os.open(one.output, os.O_WRONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert one.alive
    os.close(descriptor)
    assert not one.alive


def test_one_of_an_earlier_evacuation_does_not_speak_for_a_later_one(tmp_path: Path) -> None:
    """Both are the first attempt for this VM; the later one may be killed before it says anything."""
    with closing(Journal(tmp_path / "evacuation.journal").open()) as journal:
        earlier, other = (Child(journal.files, vm, 1) for vm in ("web1", "web2"))
        for one in (earlier, other):
            one.start(["0"])
            ended(one)
        notes = journal.files / "notes"
        notes.touch()
        journal.begin(Terms(qmp="/run/{vm}.qmp", to=("hv2",)), [Entry(Move("web1", "/run/web1.qmp"))])
        later = Child(journal.files, "web1", 1)
        assert (later.last(), later.said()) == (None, "")
        assert other.last() is not None
        assert notes.exists()
