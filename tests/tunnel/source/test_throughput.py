"""How fast a channel is that is none; the real ones are measured in `tests/integration/test_check.py`."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.task import LoopingCall, deferLater

from nbdtun.errors import ChannelReset, LinkLost, TunnelError
from nbdtun.tunnel.source.throughput import Held, Throughput, throughput
from nbdtun.tunnel.wires.selector import Selector

SECONDS = 0.2


class Paper:
    """A source whose channels acknowledge what they are given at once, up to ``most`` bytes."""

    def __init__(self, most: int, error: TunnelError | None = None) -> None:
        from twisted.internet import reactor

        self.runtime = SimpleNamespace(reactor=reactor, selector=Selector(reactor))
        self.most = most
        self.channel = SimpleNamespace(outbound=SimpleNamespace(acked=0), error=error, link=None)
        self.targets: list[str] = []

    async def open(self, target: str, sock: socket.socket) -> Any:
        from twisted.internet import reactor

        self.targets.append(target)
        self.sock = sock
        sock.setblocking(False)
        reactor.callLater(0.05, self.take)
        return self.channel

    def take(self) -> None:
        while self.channel.outbound.acked < self.most:
            try:
                self.channel.outbound.acked += len(self.sock.recv(min(4096, self.most - self.channel.outbound.acked)))
            except BlockingIOError:
                break

    def more(self, count: int) -> None:
        """It takes so many bytes more."""
        self.most += count
        self.take()

    def has_ended(self) -> bool:
        """All that was written has come, and then the end."""
        while data := self.sock.recv(1 << 20):
            assert data
        self.sock.close()
        return True


async def measure(paper: Paper) -> Throughput:
    return await throughput(paper, SECONDS)  # type: ignore[arg-type]


def far(paper: Paper, round_trip: float, *most: int) -> None:
    """The other end is so far away, and the buffers at either end hold so much."""
    paper.channel.link = SimpleNamespace(round_trip=round_trip, wire=SimpleNamespace(most_on_their_way=most or None))


@ensureDeferred
async def test_what_was_acknowledged_in_the_second_half_counts() -> None:
    from twisted.internet import reactor

    paper = Paper(20_000)
    deferLater(reactor, SECONDS * 0.7, paper.more, 30_000)
    measured = await measure(paper)
    assert paper.targets == ["sink"]
    assert 30_000 / (SECONDS * 2.5) < measured.rate <= 30_000 / (SECONDS / 2)
    assert measured.held is None
    assert paper.has_ended()


@pytest.mark.parametrize(
    ("round_trip", "most", "held"),
    [
        (0.02, (1 << 20, 2800), Held.THERE),  # 150 kB/s and 20 ms: 3000 bytes are on their way
        (0.02, (2800, 1 << 20), Held.HERE),
        (0.02, (1 << 20, 1 << 20), None),
        (0.02, (), None),  # no TCP
        (0.001, (1, 1), None),  # so near that buffers are not what counts
    ],
)
@ensureDeferred
async def test_the_end_that_holds_it_back(round_trip: float, most: tuple[int, ...], held: Held | None) -> None:
    paper = Paper(0)
    far(paper, round_trip, *most)
    flow = LoopingCall(paper.more, 1500)
    flow.start(0.01, now=False)
    measured = await measure(paper)
    flow.stop()
    assert measured.held is held
    assert paper.has_ended()


@ensureDeferred
async def test_nothing_has_arrived() -> None:
    paper = Paper(0)
    with pytest.raises(LinkLost, match=r"nothing arrived at the destination within 0\.2 s"):
        await measure(paper)
    assert paper.has_ended()


@ensureDeferred
async def test_a_channel_that_did_not_last() -> None:
    paper = Paper(100, ChannelReset("the destination was stopped"))
    with pytest.raises(ChannelReset, match="the destination was stopped"):
        await measure(paper)
    assert paper.has_ended()
