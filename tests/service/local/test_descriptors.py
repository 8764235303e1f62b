"""Descriptors that cross: each message gets its own, also when one before it was lost."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from nbdtun.amp import CheckedCommand
from nbdtun.errors import TunnelError, wire_errors
from nbdtun.logs import make_logger
from nbdtun.process import adopt, quiet_factory
from nbdtun.service.local.descriptors import Crossed, Crossing, in_memory


class Give(CheckedCommand):
    fatal = False
    errors = wire_errors()
    arguments: ClassVar = [(b"end", Crossing())]
    response: ClassVar[list[Any]] = []


class End(Crossed):
    log = make_logger()
    failed = TunnelError
    channel, other, here = "connection", "the other one", "here"
    limited = False

    def __init__(self) -> None:
        super().__init__(reactor)
        self.got: list[socket.socket] = []

    @Give.responder
    def give(self, end: int) -> dict[str, Any]:
        self.got.append(socket.socket(fileno=end))
        return {}


def _itself(end: End) -> End:
    return end


@pytest.fixture
def ends() -> Iterator[tuple[End, End]]:
    both = End(), End()
    for sock, end in zip(socket.socketpair(), both, strict=True):
        with sock:
            sock.setblocking(False)
            adopt(reactor, sock, quiet_factory(partial(_itself, end)))
    yield both
    for end in both:
        end.hang_up()
        for each in end.got:
            each.close()


@contextmanager
def no_more_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest_twisted.ensureDeferred
async def test_each_message_has_its_own_after_one_was_lost(ends: tuple[End, End]) -> None:
    giving, taking = ends
    pairs = [socket.socketpair() for _ in range(4)]
    with no_more_files(), pytest.raises(TunnelError, match="has not arrived: that process has no descriptor left for it"):
        await giving.ask(Give, seconds=10, end=pairs[0][0].fileno())
    for asking in [giving.callRemote(Give, end=mine.fileno()) for mine, _ in pairs[1:]]:
        await asking
    for number, (got, (_, theirs)) in enumerate(zip(taking.got, pairs[1:], strict=True)):
        theirs.send(b"%d" % number)
        assert got.recv(10) == b"%d" % number
    assert taking.arrived == {}
    for pair in pairs:
        for each in pair:
            each.close()


@pytest_twisted.ensureDeferred
async def test_one_without_its_message_is_closed(ends: tuple[End, End]) -> None:
    giving, taking = ends
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert giving.transport is not None
        giving.transport.sendFileDescriptor(ours.fileno())  # type: ignore[attr-defined]
        giving.transport.write(b"\0")
        while not taking.arrived:
            await deferLater(reactor, 0.01)
        (arrived,) = taking.arrived.values()
        giving.hang_up()
        while not taking.lost:
            await deferLater(reactor, 0.01)
        assert not Path(f"/proc/self/fd/{arrived}").exists()


def test_a_file_in_memory_is_read_from_its_beginning() -> None:
    with in_memory(b"said" * 50_000) as file:
        assert os.read(file.fileno(), 1 << 20) == b"said" * 50_000
