"""The proxy: two real socket pairs, with a libvirtd's words on one side and the tunnel's on the other."""

from __future__ import annotations

import resource
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nbdtun.libvirt.rpc import proxy as module
from nbdtun.libvirt.rpc.gate import MAX_CALL, Gate
from nbdtun.libvirt.rpc.messages import MAX, Kind, Message, Reader
from nbdtun.libvirt.rpc.procedures import REMOTE, Procedure
from nbdtun.libvirt.rpc.proxy import Proxy
from tests.libvirt.rpc.stage import CONVERSATION, GRANT, THE_PING, THE_PONG, call

ANSWER = call(Procedure.CONNECT_OPEN, kind=Kind.REPLY)


class Peer:
    """What is at the other end of one of the proxy's sockets."""

    def __init__(self) -> None:
        self.sock, self.theirs = socket.socketpair()
        self.sock.settimeout(10)
        self._reader = Reader()
        self._heard: list[Message] = []

    def say(self, *messages: Message) -> None:
        self.sock.sendall(b"".join(message.encode() for message in messages))

    async def hears(self, count: int = 1) -> list[Message]:
        """So many messages; fewer at the end of the stream."""
        while len(self._heard) < count and (data := await deferToThread(self.sock.recv, 1 << 20)):
            self._heard += self._reader.feed(data)
        heard, self._heard = self._heard[:count], self._heard[count:]
        return heard


class Scene:
    """A proxy between a libvirtd and a channel."""

    def __init__(self, gate: Gate | None = None) -> None:
        self.libvirtd, self.channel = Peer(), Peer()
        self.away = False
        self.refused: list[str] = []
        self.proxy = Proxy(
            reactor, self.libvirtd.theirs, self.channel.theirs, away=lambda: self.away, gate=gate, refused=self.refused.append
        )

    def end(self) -> Deferred[None]:
        self.proxy.close()
        for peer in (self.libvirtd, self.channel):
            peer.sock.close()
        return self.proxy.closed


@pytest_twisted.async_yield_fixture
async def near() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    await scene.end()


@pytest_twisted.async_yield_fixture
async def far() -> AsyncIterator[Scene]:
    scene = Scene(Gate(GRANT))
    yield scene
    await scene.end()


def moment(seconds: float = 0.1) -> Deferred[None]:
    passed: Deferred[None] = Deferred()
    reactor.callLater(seconds, passed.callback, None)
    return passed


@pytest_twisted.ensureDeferred
async def test_a_conversation_passes_both_ends(near: Scene, far: Scene) -> None:
    near.libvirtd.say(*CONVERSATION)
    far.channel.say(*CONVERSATION)
    assert await near.channel.hears(len(CONVERSATION)) == [*CONVERSATION]
    assert await far.libvirtd.hears(len(CONVERSATION)) == [*CONVERSATION]
    far.libvirtd.say(ANSWER)
    near.channel.say(ANSWER)
    assert await far.channel.hears() == await near.libvirtd.hears() == [ANSWER]
    assert near.refused == far.refused == []


@pytest_twisted.ensureDeferred
async def test_what_does_not_pass_is_answered_and_told(far: Scene) -> None:
    far.channel.say(call(12), CONVERSATION[0])
    (answer,) = await far.channel.hears()
    assert (answer.procedure, answer.serial, answer.status) == (12, 7, 1)
    assert await far.libvirtd.hears() == [CONVERSATION[0]]
    assert [line.partition(":")[0] for line in far.refused] == ["this connection is for the migration of web1 only"]


@pytest_twisted.ensureDeferred
async def test_what_nobody_expects_stays_at_the_far_end(near: Scene, far: Scene) -> None:
    event = call(318, kind=Kind.MESSAGE)
    far.libvirtd.say(event, ANSWER)
    near.channel.say(event, CONVERSATION[0], ANSWER)
    assert await far.channel.hears() == await near.libvirtd.hears() == [ANSWER]


@pytest_twisted.ensureDeferred
async def test_a_ping_is_answered_while_the_link_is_away(near: Scene) -> None:
    near.libvirtd.say(THE_PING)
    assert await near.channel.hears() == [THE_PING]
    near.channel.say(THE_PONG)
    assert await near.libvirtd.hears() == [THE_PONG]
    near.away = True
    near.libvirtd.say(THE_PING, CONVERSATION[0])
    assert await near.libvirtd.hears() == [THE_PONG]
    assert await near.channel.hears() == [CONVERSATION[0]]


@pytest_twisted.ensureDeferred
async def test_a_ping_on_its_way_is_answered_when_the_link_goes_away(near: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK", 0.05)
    near.libvirtd.say(THE_PING)
    assert await near.channel.hears() == [THE_PING]
    await moment()
    near.away = True
    assert await near.libvirtd.hears() == [THE_PONG]
    near.away = False
    near.channel.say(THE_PONG)  # late, and libvirt takes it
    assert await near.libvirtd.hears() == [THE_PONG]


@pytest_twisted.ensureDeferred
async def test_no_answer_lands_in_a_message(near: Scene) -> None:
    data = ANSWER.encode()
    near.away = True
    near.channel.sock.sendall(data[:9])
    await moment()
    near.libvirtd.say(THE_PING)
    assert await near.libvirtd.hears() == [THE_PONG]
    near.channel.sock.sendall(data[9:])
    assert await near.libvirtd.hears() == [ANSWER]


LARGE = call(Procedure.DOMAIN_MIGRATE_PREPARE3_PARAMS, bytes(8 << 20))


@pytest_twisted.ensureDeferred
async def test_a_ping_is_answered_though_the_link_takes_nothing(near: Scene) -> None:
    near.away = True
    near.libvirtd.sock.settimeout(30)
    await deferToThread(near.libvirtd.say, LARGE, THE_PING)
    assert await near.libvirtd.hears() == [THE_PONG]
    assert await near.channel.hears() == [LARGE]


@pytest_twisted.ensureDeferred
async def test_it_reads_no_more_than_the_other_side_takes(near: Scene) -> None:
    near.libvirtd.sock.setblocking(False)
    data, sent = memoryview(LARGE.encode() * 9), 0
    for _ in range(2000):
        try:
            sent += near.libvirtd.sock.send(data[sent : sent + (1 << 20)])
        except BlockingIOError:
            await moment(0.001)
        if sent == len(data):
            break
    assert MAX <= sent < MAX + 2 * len(LARGE.encode())
    near.libvirtd.sock.settimeout(30)
    rest = deferToThread(near.libvirtd.sock.sendall, data[sent:])
    assert await near.channel.hears(9) == [LARGE] * 9
    await rest


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("first", ["libvirtd", "channel"])
async def test_an_end_goes_through_with_all_before_it(first: str) -> None:
    scene = Scene()
    one, other = (scene.libvirtd, scene.channel) if first == "libvirtd" else (scene.channel, scene.libvirtd)
    one.say(*[ANSWER] * 1000)
    one.sock.sendall(b"\0\0\0")  # half a message never arrives
    one.sock.shutdown(socket.SHUT_WR)
    assert await other.hears(1001) == [ANSWER] * 1000
    other.say(ANSWER)
    other.sock.close()
    assert await one.hears(2) == [ANSWER]
    await scene.proxy.closed
    one.sock.close()


@pytest_twisted.ensureDeferred
async def test_one_that_is_gone_is_gone_for_the_other(far: Scene) -> None:
    far.libvirtd.sock.close()
    assert await far.channel.hears() == []


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("first", ["libvirtd", "channel"])
async def test_bytes_that_are_no_messages_end_it(far: Scene, first: str) -> None:
    getattr(far, first).sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    await far.proxy.closed
    most = MAX if first == "libvirtd" else MAX_CALL
    assert far.refused == [f"a message of libvirt's RPC of 1195725856 bytes; 28 to {most} are possible [protocol]"]


@pytest_twisted.ensureDeferred
async def test_a_message_that_cannot_be_answered_ends_it(far: Scene) -> None:
    far.channel.say(Message(REMOTE, 1, 1, Kind.STREAM), CONVERSATION[0])
    await far.proxy.closed
    assert await far.libvirtd.hears() == []


@pytest_twisted.ensureDeferred
async def test_closing_may_be_repeated(near: Scene) -> None:
    near.libvirtd.say(THE_PING)
    await near.channel.hears()
    near.proxy.close()
    near.proxy.close()
    await near.proxy.closed
    near.proxy.close()
    assert "gone" in repr(near.proxy)


@pytest_twisted.ensureDeferred
async def test_without_descriptors_both_are_closed() -> None:
    libvirtd, channel = Peer(), Peer()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (channel.theirs.fileno(), limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            Proxy(reactor, libvirtd.theirs, channel.theirs, away=bool)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert libvirtd.sock.recv(1) == channel.sock.recv(1) == b""
    libvirtd.sock.close()
    channel.sock.close()
