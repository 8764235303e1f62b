"""The pipe between two sockets: what goes in comes out, or is read, and never at somebody else's."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

import pytest

from nbdtun.tunnel.pipe import Pipe
from tests.tunnel.cable import tcp_pair

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


def made(make: Callable[[], Pair]) -> Pair:
    pair = make()
    for sock in pair:
        sock.setblocking(False)
    return pair


@pytest.fixture
def link() -> Pair:
    """What comes, and who sends it."""
    return made(tcp_pair)


@pytest.fixture(params=[socket.socketpair, tcp_pair], ids=["unix", "tcp"])
def program(request: pytest.FixtureRequest) -> Pair:
    """Where it goes, and who reads it."""
    return made(request.param)


def test_what_goes_in_comes_out(pipe: Pipe, link: Pair, program: Pair) -> None:
    link[1].send(b"hello")
    assert pipe.fill(link[0].fileno(), 100) == 5
    assert pipe.held == 5
    assert pipe.empty(program[0].fileno()) == 5
    assert pipe.held == 0
    assert program[1].recv(100) == b"hello"


def test_no_more_is_taken_than_asked_for(pipe: Pipe, link: Pair) -> None:
    link[1].send(b"hello, world")
    assert pipe.fill(link[0].fileno(), 5) == 5
    assert link[0].recv(100) == b", world"


def test_nothing_and_the_end_are_told_apart(pipe: Pipe, link: Pair) -> None:
    assert pipe.fill(link[0].fileno(), 100) is None
    link[1].close()
    assert pipe.fill(link[0].fileno(), 100) == 0


def test_what_the_program_does_not_take_is_read(pipe: Pipe, link: Pair, program: Pair) -> None:
    sent, taken, read = bytearray(), 0, bytearray()
    while not read:
        piece = os.urandom(50_000)
        link[1].send(piece)
        count = 0
        while count < len(piece):
            count += pipe.fill(link[0].fileno(), 100_000) or 0
            taken += pipe.empty(program[0].fileno())
            while pipe.held:
                read += pipe.read()
        sent += piece
    got = bytearray()
    while len(got) < taken:
        got += program[1].recv(taken)
    assert got + read == sent


def test_the_rest_stays_in_it_until_there_is_room(pipe: Pipe, link: Pair, program: Pair) -> None:
    sent, got = bytearray(), bytearray()
    while not pipe.held:
        sent += os.urandom(50_000)
        link[1].send(sent[-50_000:])
        while not pipe.held and pipe.fill(link[0].fileno(), 100_000):
            pipe.empty(program[0].fileno())
    while len(got) < len(sent):
        got += program[1].recv(1 << 20)
        pipe.empty(program[0].fileno())
    assert pipe.held == 0
    assert got == sent


def test_a_broken_connection_is_told(pipe: Pipe, link: Pair) -> None:
    ours, theirs = made(socket.socketpair)
    theirs.close()
    link[1].send(b"hello")
    pipe.fill(link[0].fileno(), 100)
    with pytest.raises(BrokenPipeError):
        pipe.empty(ours.fileno())


def test_a_descriptor_that_it_cannot_handle_is_one_for_others(pipe: Pipe, link: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def unfit(*_: object, flags: int) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "splice", unfit)
    assert pipe.fit
    assert pipe.fill(link[0].fileno(), 100) is None
    assert not pipe.fit


def test_its_descriptors_go_with_it(link: Pair) -> None:
    before = os.listdir("/proc/self/fd")
    pipe = Pipe()
    pipe.fill(link[0].fileno(), 100)
    assert len(os.listdir("/proc/self/fd")) == len(before) + 2
    assert repr(pipe) == "<Pipe fit=True held=0>"
    del pipe
    assert len(os.listdir("/proc/self/fd")) == len(before)
