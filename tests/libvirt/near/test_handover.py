"""The handover, as libvirt's connection shows it; real sockets."""

from __future__ import annotations

import socket
from uuid import UUID

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from nbdtun.libvirt.near.handover import SourceProxy, arrived
from nbdtun.libvirt.rpc.messages import Kind, Message
from nbdtun.libvirt.rpc.xdr import Unpacker
from tests.libvirt.rpc.stage import UUID_TEXT, finish, prepare


class Ends:
    """A proxy with a libvirtd and a channel, which are ours."""

    def __init__(self) -> None:
        self.libvirtd, one = socket.socketpair()
        self.channel, other = socket.socketpair()
        for sock in (self.libvirtd, self.channel):
            sock.settimeout(5)
        self.proxy = SourceProxy(reactor, one, other, away=lambda: False)

    async def calls(self, message: Message) -> None:
        """What libvirtd sends has passed."""
        self.libvirtd.send(message.encode())
        await deferLater(reactor, 0.05)
        assert self.channel.recv(65536) == message.encode()

    async def close(self) -> None:
        self.channel.close()
        self.libvirtd.close()
        await self.proxy.closed


def test_the_answer_names_the_domain() -> None:
    answer = arrived(finish(), "web1", UUID_TEXT)
    assert (answer.kind, answer.serial, answer.procedure, answer.status) == (Kind.REPLY, finish().serial, finish().procedure, 0)
    told = Unpacker(answer.body)
    assert (told.string(), answer.body[8:24], answer.body[24:]) == ("web1", UUID(UUID_TEXT).bytes, bytes((0, 0, 0, 1, 0, 0, 0, 0)))


@pytest_twisted.ensureDeferred
async def test_libvirt_hears_that_it_runs_there_and_then_that_the_connection_ends() -> None:
    ends = Ends()
    await ends.calls(prepare())
    assert not ends.proxy.hands_over
    await ends.calls(finish())
    assert ends.proxy.hands_over
    ends.proxy.conclude("web1", UUID_TEXT)
    ends.proxy.conclude("web1", UUID_TEXT)
    assert not ends.proxy.hands_over
    ends.channel.close()
    await deferLater(reactor, 0.05)
    assert ends.libvirtd.recv(65536) == arrived(finish(), "web1", UUID_TEXT).encode()
    assert ends.libvirtd.recv(1) == b""
    await ends.close()


@pytest_twisted.ensureDeferred
async def test_its_own_answer_ends_the_handover() -> None:
    ends = Ends()
    await ends.calls(finish())
    ends.channel.send(arrived(finish(), "web1", UUID_TEXT).encode())
    await deferLater(reactor, 0.05)
    assert not ends.proxy.hands_over
    assert len(ends.libvirtd.recv(65536)) == len(arrived(finish(), "web1", UUID_TEXT).encode())
    await ends.close()
