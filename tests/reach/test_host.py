"""Calls to a host, by an ssh that runs the remote command here."""

from __future__ import annotations

import os

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

from nbdtun.errors import NotInstalled, ReachError
from nbdtun.reach.greeting import TALK
from nbdtun.reach.host import Call
from tests.reach.stage import FakeSSH, host

FAR = "printf 'Welcome!\\nnbdtun-receive/1 0.1.0 -\\n'; exec cat #"


async def call(remote: str, *, attended: bool = False) -> Call:
    return await host(remote).call(["receive"], TALK, attended=attended)


class Echoed(Protocol):
    def __init__(self) -> None:
        self.data = b""
        self.whole: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if self.data.endswith(b"more") and not self.whole.called:
            self.whole.callback(None)


@pytest_twisted.ensureDeferred
async def test_the_far_end_answers(ssh: FakeSSH) -> None:
    called = await call(FAR)
    echoed = Echoed()
    called.calling.give_way(echoed)
    assert echoed.transport is not None
    echoed.transport.write(b"more")
    await echoed.whole
    assert echoed.data == b"talk\nmore"
    assert len(ssh.calls()) == 1
    assert "BatchMode=yes" in ssh.calls()[0]
    await called.child.end()


@pytest.mark.parametrize(
    ("remote", "kind", "line"),
    [
        ("no-such-nbdtun", NotInstalled, "no-such-nbdtun cannot be run there"),
        ("echo hello; exit 5 #", ReachError, "ended with status 5 there"),
        ("echo 'nbdtun: no room [config]' >&2; exit 1 #", ReachError, ": no room"),
        ("echo 'nbdtun-receive/2 7.0 -'; cat #", NotInstalled, "speaks version 2"),
        (f"echo 'nbdtun-receive/1 0.1.0 {'0' * 64}'; cat #", ReachError, "another far end"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_or_fails_in_one_line(ssh: FakeSSH, remote: str, kind: type[Exception], line: str) -> None:
    with pytest.raises(ReachError) as caught:
        await call(remote)
    assert type(caught.value) is kind
    assert line in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_ssh_itself_fails(ssh: FakeSSH) -> None:
    ssh.does("echo 'ssh: connect to host dest port 22: Connection refused' >&2; exit 255")
    with pytest.raises(ReachError, match=r"^ssh://me@dest:2222: connect to host dest port 22: Connection refused; does sshd run"):
        await call(FAR)


@pytest_twisted.ensureDeferred
async def test_it_does_not_wait_for_ever(ssh: FakeSSH, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.reach.host.UNATTENDED", 0.2)
    with pytest.raises(ReachError, match=r"no answer in 0.2 s"):
        await call("exec sleep 60 #")


@pytest_twisted.ensureDeferred
async def test_a_call_can_be_given_up(ssh: FakeSSH) -> None:
    before = len(os.listdir("/proc/self/fd"))
    calling = Deferred.fromCoroutine(call("exec sleep 60 #", attended=True))
    await deferLater(reactor, 0.1)
    calling.cancel()
    with pytest.raises(CancelledError):
        await calling
    await deferLater(reactor, 0)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest_twisted.ensureDeferred
async def test_an_alias_has_a_name(ssh: FakeSSH) -> None:
    ssh.does("echo 'hostname dest.example.org'; exit 0")
    assert await host().name() == "dest.example.org"
    ssh.does("exit 255")
    assert await host().name() == "dest"
