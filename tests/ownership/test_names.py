"""Abstract names, at the kernel itself."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import subprocess
import sys

import pytest

from nbdtun.ownership import names
from nbdtun.ownership.names import claim, holder


@pytest.fixture
def name() -> str:
    """One that no other test has."""
    return f"nbdtun-test-{os.getpid()}-{secrets.token_hex(8)}"


def hold(name: str) -> socket.socket:
    held = claim(name)
    assert held is not None
    return held


def test_one_at_a_time(name: str) -> None:
    with hold(name):
        assert claim(name) is None
    hold(name).close()


def test_who_holds_it(name: str) -> None:
    assert holder(name) is None
    with hold(name):
        for _ in range(20):
            assert holder(name) == os.getpid()
    assert holder(name) is None


def test_whose_queue_is_full_is_not_known(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "CALLERS", 0)
    with hold(name):
        assert holder(name) == os.getpid()
        assert holder(name) == 0


def test_names_are_told_apart_by_their_last_letter(name: str) -> None:
    """An abstract name ends with its address, and has no zero byte behind it."""
    with hold(name) as one, hold(f"{name}x") as other:
        assert one.getsockname() == b"\0" + name.encode()
        assert other.getsockname() == b"\0" + name.encode() + b"x"
    assert not os.path.exists(name)


def test_it_is_free_again_when_its_process_was_killed(name: str) -> None:
    """Without a file that could be left: that is what it is for."""
    script = (
        f"import sys; from nbdtun.ownership.names import claim; held = claim({name!r}); print(bool(held), flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "True\n"
            assert claim(name) is None
        finally:
            other.kill()
            other.wait(timeout=30)
    hold(name).close()


def test_a_child_does_not_hold_it(name: str) -> None:
    """Such as a program that was started by the one that is gone."""
    with hold(name) as held:
        assert not os.get_inheritable(held.fileno())


def test_one_that_cannot_be_is_an_error_and_not_held_by_another(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    closed: list[int] = []

    class Full(socket.socket):
        def bind(self, address: object) -> None:
            raise OSError(errno.ENOMEM, "no memory")

        def close(self) -> None:
            closed.append(self.fileno())
            super().close()

    monkeypatch.setattr(socket, "socket", Full)
    with pytest.raises(OSError, match="no memory"):
        claim(name)
    assert len(closed) == 1
    assert closed[0] >= 0


def test_one_that_is_too_long() -> None:
    with pytest.raises(OSError, match="AF_UNIX path too long"):
        claim("x" * 108)
