from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nbdtun.migration.rollback.presence import Presence, identity, is_present, lives, pid_of
from nbdtun.ownership import names

NAME = "nbdtun-test-presence"


def test_a_name_is_held_once() -> None:
    one, other = Presence(NAME), Presence(NAME)
    assert not is_present(NAME)
    assert one.acquire()
    assert is_present(NAME)
    assert not other.acquire()
    assert repr(one) == f"<Presence {NAME} held>"
    assert repr(other) == f"<Presence {NAME} not held>"
    other.release()
    assert is_present(NAME)
    one.release()
    one.release()
    assert not is_present(NAME)


def test_only_the_process_counts_whose_name_it_is() -> None:
    """Any user can hold a name that he has seen."""
    mine, other = identity(os.getpid()), identity(1)
    assert mine != other
    held = Presence(NAME)
    assert held.acquire()
    assert is_present(NAME, mine)
    assert not is_present(NAME, other)
    assert not is_present(NAME, f"{mine}0")  # the pid of another process, which has ended
    held.release()
    assert not is_present(NAME, mine)


def test_a_process_that_cannot_be_compared_counts() -> None:
    held = Presence(NAME)
    assert held.acquire()
    for unknown in ("", f"1 {os.getpid()} 1"):
        assert is_present(NAME, unknown)
    held.release()


def test_a_queue_that_was_filled_hides_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the kernel does not tell who holds a name; whether the process lives is known all the same."""
    monkeypatch.setattr(names, "CALLERS", 0)
    held = Presence(NAME)
    assert held.acquire()
    for _ in range(3):
        assert is_present(NAME, identity(os.getpid()))
        assert not is_present(NAME, f"{identity(os.getpid())}0")
    held.release()


def test_there_is_no_such_process() -> None:
    assert identity(1 << 22) == ""
    assert not lives("")
    assert not lives(f"1 {os.getpid()} 1")
    assert [pid_of(text) for text in ("", "1 x 2", "1 7 2")] == [0, 0, 7]


def test_a_process_that_has_ended_does_not_live_though_nobody_waits_for_it() -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        process = identity(other.pid)
        assert (pid_of(process), lives(process)) == (other.pid, True)
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{other.pid}").exists()
        assert not lives(process)


def test_a_process_that_is_killed_holds_nothing() -> None:
    script = f"from nbdtun.migration.rollback.presence import Presence; p = Presence({NAME!r}); print(p.acquire(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        assert is_present(NAME)
        other.kill()
        other.wait()
        assert not is_present(NAME)
