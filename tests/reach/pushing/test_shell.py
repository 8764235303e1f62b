"""Commands by ssh, one after the other, by an ssh that runs them here."""

from __future__ import annotations

import os

import pytest
import pytest_twisted

from nbdtun.errors import ReachError
from nbdtun.reach.pushing import shell as module
from nbdtun.reach.pushing.shell import SSHShell
from tests.reach.stage import FakeSSH, host


@pytest_twisted.ensureDeferred
async def test_a_command_gets_its_input_and_answers(ssh: FakeSSH) -> None:
    data = os.urandom(1 << 20)
    ran = await SSHShell(host()).run(["sh", "-c", "wc -c; echo 'a line' >&2; exit 7"], data, 10)
    assert (ran.status, ran.output.split(), ran.said) == (7, [b"1048576"], ["a line"])
    (call,) = ssh.calls()
    assert "BatchMode" not in call  # it may ask
    assert call.endswith("exec sh -c 'wc -c; echo '\"'\"'a line'\"'\"' >&2; exit 7'")


@pytest_twisted.ensureDeferred
async def test_an_ssh_that_fails(ssh: FakeSSH) -> None:
    ssh.does("echo 'Permission denied (publickey).' >&2; exit 255")
    with pytest.raises(ReachError, match=r"Permission denied \(publickey\); is it the right user"):
        await SSHShell(host()).run(["true"], b"", 10)


@pytest_twisted.ensureDeferred
async def test_one_that_does_not_end_is_ended(ssh: FakeSSH) -> None:
    with pytest.raises(ReachError, match="a command there has not ended in"):
        await SSHShell(host()).run(["sleep", "60"], b"", 0.2)


@pytest_twisted.ensureDeferred
async def test_one_that_says_too_much_is_ended(ssh: FakeSSH, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 100_000)
    ran = await SSHShell(host()).run(["yes"], b"", 10)
    assert ran.status != 0
    assert len(ran.output) < 1 << 20
