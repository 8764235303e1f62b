"""The process: setting the wall's clock disturbs no wait, and the limit of open files is raised."""

from __future__ import annotations

import errno
import os
import pty
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectError, NoRouteError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from nbdtun.process import adopt, beside, gone, steady, why_unconnected


def test_the_clock_of_the_wall_is_replaced() -> None:
    reactor = EPollReactor()
    assert reactor.seconds is time.time
    steady(reactor)
    assert reactor.seconds is time.monotonic
    call = reactor.callLater(5, print)
    assert 4 < call.getTime() - time.monotonic() <= 5
    call.cancel()


def test_what_waits_already_is_not_made_to_wait_for_ever() -> None:
    reactor = EPollReactor()
    call = reactor.callLater(5, print)
    steady(reactor)
    assert reactor.seconds is time.time
    call.cancel()


def test_it_leaves_no_core_dump() -> None:
    program = """
import ctypes, resource
from twisted.internet.task import Clock
from nbdtun.process import settle_in
settle_in(Clock())
print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
"""
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert told == "(0, 0) 0\n"


def test_a_clock_of_its_own_is_kept() -> None:
    clock = Clock()
    steady(clock)
    clock.advance(3)
    assert clock.seconds() == 3


class Hearing(Protocol):
    def __init__(self) -> None:
        self.heard: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.heard.callback(data)


@ensureDeferred
async def test_an_adopted_socket_outlives_its_giver() -> None:
    from twisted.internet import reactor

    protocol = Hearing()
    factory = Factory.forProtocol(lambda: protocol)
    factory.noisy = False
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.setblocking(False)
            adopt(reactor, theirs, factory)
        ours.send(b"still there")
        assert await protocol.heard == b"still there"
        assert protocol.transport is not None
        protocol.transport.loseConnection()


CODE = "import resource; from nbdtun.process import make_room; print(make_room({}), *resource.getrlimit(resource.RLIMIT_NOFILE))"


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "then"),
    [(64, 4096, 500, "500 500 4096"), (64, 300, 500, "300 300 300"), (800, 4096, 500, "800 800 4096")],
)
def test_the_soft_limit_is_raised_as_far_as_it_may_be(soft: int, hard: int, wanted: int, then: str) -> None:
    command = ["prlimit", f"--nofile={soft}:{hard}", sys.executable, "-c", CODE.format(wanted)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == then


def test_who_is_gone_is_seen_without_a_write(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    terminal, end = pty.openpty()
    with (tmp_path / "file").open("w") as file:
        assert [gone(number) for number in (writing, end, file.fileno())] == [False, False, False]
    os.close(reading)
    os.close(terminal)
    assert [gone(number) for number in (writing, end)] == [True, True]
    os.close(writing)
    os.close(end)


def test_a_process_beside_this_one_finds_the_same_modules() -> None:
    """It is called with its descriptor, by a name that operators see, after what is to be run first."""
    reading, writing = os.pipe()
    words = beside("tests.test_process.answer", "nbdtun beside", writing, "import builtins\nbuiltins.first = True\n")
    assert words[3:5] == ["nbdtun beside", f"{writing}"]
    subprocess.run(words, pass_fds=[writing], check=True)
    os.close(writing)
    with open(reading, "rb") as told:
        assert told.read() == b"True"


def answer(descriptor: int) -> None:
    import builtins

    os.write(descriptor, f"{getattr(builtins, 'first', False)}".encode())


def test_why_there_is_no_connection() -> None:
    assert why_unconnected(NoRouteError(errno.EHOSTUNREACH, "No route to host")) == "No route to host"
    assert why_unconnected(ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))) == "Connection reset by peer"
    assert why_unconnected(ConnectError(string="no protocol")) == "An error occurred while connecting: no protocol."
