from __future__ import annotations

import os
import signal

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from nbdtun.errors import FarEndGone, LinkLost, ReachError
from nbdtun.reach.links import AT_ONCE, SSHLinks
from tests.reach.stage import SECRET, FakeReceiver, FakeSSH, host


class Asking(Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.echoed: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.got += data
        if self.got == b"hello":
            self.echoed.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


FACTORY = Factory.forProtocol(Asking)
FACTORY.noisy = False


async def connected(links: SSHLinks) -> Asking:
    protocol = await links.connect(FACTORY)
    assert isinstance(protocol, Asking)
    await protocol.echoed
    return protocol


@pytest_twisted.ensureDeferred
async def test_each_link_is_an_ssh_of_its_own(ssh: FakeSSH, receiver: FakeReceiver) -> None:
    links = SSHLinks(receiver.host, "web1", SECRET)
    one, two = await connected(links), await connected(links)
    assert len(links.pids) == 2
    assert all("BatchMode=yes" in call and call.endswith("receive web1 --over-ssh join") for call in ssh.calls())
    os.kill(links.pids[0], signal.SIGKILL)
    await one.gone
    await connected(links)
    assert not two.gone.called
    await links.close()
    await two.gone
    assert links.pids == []


@pytest_twisted.ensureDeferred
async def test_only_some_are_dialled_at_a_time(ssh: FakeSSH, receiver: FakeReceiver) -> None:
    links = SSHLinks(receiver.host, "web1", SECRET)
    dialling = [Deferred.fromCoroutine(connected(links)) for _ in range(AT_ONCE + 2)]
    assert links._dialling.tokens == 0
    await gatherResults(dialling)
    assert links._dialling.tokens == AT_ONCE
    await links.close()


@pytest_twisted.ensureDeferred
async def test_another_far_end_is_not_taken_for_it(receiver: FakeReceiver) -> None:
    links = SSHLinks(receiver.host, "web1", b"another secret")
    with pytest.raises(LinkLost, match="ended"):
        await links.connect(FACTORY)


@pytest_twisted.ensureDeferred
async def test_a_failure_has_the_words_of_ssh(ssh: FakeSSH) -> None:
    ssh.does("echo 'me@dest: Permission denied (publickey,password).' >&2; exit 255")
    links = SSHLinks(host(), "web1", SECRET)
    with pytest.raises(LinkLost, match=r"Permission denied \(publickey,password\); is it the right user"):
        await links.connect(FACTORY)
    with pytest.raises(ReachError, match="Permission denied"):
        await links.prove()
    assert links.pids == []


@pytest_twisted.ensureDeferred
async def test_a_far_end_that_has_gone_is_no_outage(ssh: FakeSSH, receiver: FakeReceiver) -> None:
    links = SSHLinks(receiver.host, "web1", SECRET)
    for words, error in (("nothing receives web1 there any more [reach]", FarEndGone), ("no route", LinkLost)):
        ssh.does(f"echo 'nbdtun: {words}' >&2; exit 1")
        with pytest.raises(error, match=words.partition(" [")[0]):
            await links.connect(FACTORY)
    assert not issubclass(FarEndGone, LinkLost)
