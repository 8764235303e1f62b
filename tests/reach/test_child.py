"""Children: real processes of a shell."""

from __future__ import annotations

import os
import signal
import time

import pytest
import pytest_twisted
from twisted.internet import reactor

from nbdtun.errors import ReachError
from nbdtun.reach.child import LINES, LONGEST, Child


def shell(line: str, *, apart: bool = True) -> Child:
    return Child(reactor, ["sh", "-c", line], apart=apart)


def heard(child: Child, count: int) -> bytes:
    """So many bytes of what it says."""
    child.sock.settimeout(10)
    data = b""
    while len(data) < count and (more := child.sock.recv(count - len(data))):
        data += more
    return data


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest_twisted.ensureDeferred
async def test_it_is_spoken_to_over_one_socket() -> None:
    child = shell("cat; echo end >&2; exit 7")
    child.sock.sendall(b"hello")
    assert heard(child, 5) == b"hello"
    child.sock.shutdown(1)
    await child.when_over()
    assert (child.status, child.said) == (7, ["end"])
    await child.end()
    assert is_gone(child.pid)


@pytest_twisted.ensureDeferred
async def test_it_is_told_to_end() -> None:
    child = shell("exec sleep 60")
    await child.end()
    assert child.status == -signal.SIGTERM
    assert is_gone(child.pid)


@pytest_twisted.ensureDeferred
async def test_one_that_does_not_listen_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.reach.child.GRACE", 0.1)
    child = shell("trap '' TERM; echo ready; while :; do sleep 1; done")
    assert heard(child, 6) == b"ready\n"
    await child.end()
    assert child.status == -signal.SIGKILL


@pytest_twisted.ensureDeferred
async def test_ctrl_c_reaches_none_of_them() -> None:
    apart, beside = shell("exec cat"), shell("exec cat", apart=False)
    assert os.getpgid(apart.pid) == apart.pid
    assert os.getpgid(beside.pid) == os.getpgid(0)
    os.kill(beside.pid, signal.SIGINT)  # as the terminal sends it to the whole group
    time.sleep(0.05)
    for child in (apart, beside):
        child.sock.sendall(b"alive")
        assert heard(child, 5) == b"alive"
        await child.end()


@pytest_twisted.ensureDeferred
async def test_of_its_errors_the_last_are_kept() -> None:
    child = shell(
        f"i=0; while [ $i -lt {2 * LINES} ]; do i=$((i+1)); echo line $i >&2; done; head -c {3 * LONGEST} /dev/zero | tr '\\0' x >&2"
    )
    await child.when_over()
    assert child.said[-2] == f"line {2 * LINES}"
    assert set(child.said[-1][:LONGEST]) == {"x"}
    assert len(child.said) <= LINES + 1
    await child.end()


def test_there_is_no_such_command() -> None:
    with pytest.raises(ReachError, match="there is no command no-such-ssh here; install it"):
        Child(reactor, ["no-such-ssh"], apart=True)


def test_one_that_cannot_be_started_leaves_nothing() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ReachError, match="/dev/null cannot be started: Permission denied"):
        Child(reactor, ["/dev/null"], apart=True)
    assert len(os.listdir("/proc/self/fd")) == before
