"""The handover, as libvirt's connection shows it; real sockets."""

from __future__ import annotations

import os
import socket
from uuid import UUID

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from nbdtun.errors import MigrationError
from nbdtun.libvirt.near.handover import Held, SourceProxy, arrived
from nbdtun.libvirt.rpc.keepalive import ANSWER
from nbdtun.libvirt.rpc.messages import Kind, Message, Reader, Status
from nbdtun.libvirt.rpc.procedures import KEEPALIVE, PING, VERSION
from nbdtun.libvirt.rpc.xdr import Unpacker
from tests.libvirt.rpc.stage import UUID_TEXT, finish, prepare


class Ends:
    """A proxy with a libvirtd and a channel, which are ours."""

    def __init__(self, error: Exception | None = None) -> None:
        self.began: list[tuple[Message, int]] = []
        self._error = error
        self.libvirtd, one = socket.socketpair()
        self.channel, other = socket.socketpair()
        for sock in (self.libvirtd, self.channel):
            sock.settimeout(5)
        self.proxy = SourceProxy(reactor, one, other, away=lambda: False, begins=self._begin)

    def _begin(self, finish: Message, descriptor: int) -> None:
        self.began.append((finish, descriptor))
        if self._error is not None:
            raise self._error

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
    assert ends.began == []
    await ends.calls(finish())
    assert ends.proxy.hands_over
    assert [each for each, _ in ends.began] == [finish()]
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


@pytest.mark.parametrize("error", [MigrationError("it cannot be written down"), OSError("no space")])
@pytest_twisted.ensureDeferred
async def test_nothing_is_handed_over_that_the_next_process_would_not_know(error: Exception) -> None:
    ends = Ends(error)
    ends.libvirtd.send(finish().encode())
    await deferLater(reactor, 0.05)
    (answer,) = Reader().feed(ends.libvirtd.recv(65536))
    assert (answer.serial, answer.status) == (finish().serial, Status.ERROR)
    assert f"{error}".encode() in answer.body
    ends.channel.settimeout(0.05)
    with pytest.raises(TimeoutError):
        ends.channel.recv(1)
    assert not ends.proxy.hands_over
    await ends.close()


@pytest_twisted.ensureDeferred
async def test_another_process_that_has_the_connection_keeps_libvirt_waiting() -> None:
    """The first one closes its sockets, of which libvirt does not hear."""
    ends = Ends()
    await ends.calls(finish())
    held = Held(reactor, socket.socket(fileno=os.dup(ends.began[0][1])), finish())
    ends.proxy.close()
    await ends.proxy.closed
    ends.libvirtd.send(finish().encode()[7:] * 2)  # the rest of something that the first one has begun to read
    await deferLater(reactor, 0.05)
    ends.libvirtd.send(Message(KEEPALIVE, VERSION, PING, Kind.MESSAGE).encode())
    await deferLater(reactor, 0.05)
    assert ends.libvirtd.recv(65536) == ANSWER.encode()
    held.conclude("web1", UUID_TEXT)
    await held.closed
    assert ends.libvirtd.recv(65536) == arrived(finish(), "web1", UUID_TEXT).encode()
    assert ends.libvirtd.recv(1) == b""
    ends.libvirtd.close()
    ends.channel.close()


@pytest_twisted.ensureDeferred
async def test_libvirt_is_let_go() -> None:
    near, far = socket.socketpair()
    near.settimeout(5)
    held = Held(reactor, far, finish())
    held.let_go()
    held.let_go()
    await held.closed
    assert near.recv(1) == b""
    near.close()


@pytest_twisted.ensureDeferred
async def test_libvirt_does_not_give_up_a_destination_that_hangs_in_a_handover() -> None:
    """Its libvirtd may be stopped for a minute, have the call in its socket, and let the guest run when it goes on."""
    ends = Ends()
    ping = Message(KEEPALIVE, VERSION, PING, Kind.MESSAGE)
    await ends.calls(ping)
    await ends.calls(finish())
    await deferLater(reactor, 1.1)
    assert ends.libvirtd.recv(65536) == ANSWER.encode()
    ends.libvirtd.send(ping.encode())
    await deferLater(reactor, 0.05)
    assert ends.libvirtd.recv(65536) == ANSWER.encode()
    ends.channel.send(arrived(finish(), "web1", UUID_TEXT).encode())
    await deferLater(reactor, 0.05)
    assert len(ends.libvirtd.recv(65536)) == len(arrived(finish(), "web1", UUID_TEXT).encode())
    await ends.calls(ping)
    await ends.close()


@pytest_twisted.ensureDeferred
async def test_libvirt_waits_as_long_as_it_takes_to_find_out() -> None:
    """Its connection outlives the channel."""
    ends = Ends()
    ping = Message(KEEPALIVE, VERSION, PING, Kind.MESSAGE)
    await ends.calls(ping)
    await ends.calls(finish())
    ends.proxy.parted = True
    await deferLater(reactor, 1.1)
    assert ends.libvirtd.recv(65536) == ANSWER.encode()
    ends.libvirtd.send(ping.encode())
    await deferLater(reactor, 0.05)
    assert ends.libvirtd.recv(65536) == ANSWER.encode()
    await ends.close()
