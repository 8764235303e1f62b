"""How fast a channel is that is none; the real ones are measured in `tests/integration/test_check.py`."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from nbdtun.errors import ChannelReset, LinkLost, TunnelError
from nbdtun.tunnel.source.throughput import throughput
from nbdtun.tunnel.wires.selector import Selector

SECONDS = 0.2


class Paper:
    """A source whose channels acknowledge what they are given at once, up to ``most`` bytes."""

    def __init__(self, most: int, error: TunnelError | None = None) -> None:
        from twisted.internet import reactor

        self.runtime = SimpleNamespace(reactor=reactor, selector=Selector(reactor))
        self.most = most
        self.channel = SimpleNamespace(outbound=SimpleNamespace(acked=0), error=error)
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

    def has_ended(self) -> bool:
        """All that was written has come, and then the end."""
        while data := self.sock.recv(1 << 20):
            assert data
        self.sock.close()
        return True


async def measure(paper: Paper) -> float:
    return await throughput(paper, SECONDS)  # type: ignore[arg-type]


@ensureDeferred
async def test_what_was_acknowledged_counts() -> None:
    paper = Paper(20_000)
    rate = await measure(paper)
    assert paper.targets == ["sink"]
    assert 20_000 / (SECONDS * 5) < rate <= 20_000 / SECONDS
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
