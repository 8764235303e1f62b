"""The pipe between two sockets: what goes in comes out, or is read, and never at somebody else's."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator

import pytest

from nbdtun.tunnel.wires.pipe import MOST, SPARE, Pipe, PipePool
from tests.tunnel.stage.sockets import tcp_pair

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


@pytest.fixture
def pipes() -> PipePool:
    return PipePool()


@pytest.fixture
def source() -> Iterator[int]:
    """A descriptor from which ten bytes can be read."""
    ours, theirs = socket.socketpair()
    theirs.send(b"ten bytes!")
    with ours, theirs:
        yield ours.fileno()


def taken(pipes: PipePool) -> Pipe:
    pipe = pipes.take()
    assert pipe is not None
    return pipe


def test_one_that_is_empty_is_lent_again(pipes: PipePool) -> None:
    pipe = taken(pipes)
    pipes.give(pipe)
    assert pipes.take() is pipe
    assert pipes.take() is not pipe


def test_what_one_holds_is_nobody_elses(pipes: PipePool, source: int) -> None:
    pipe = taken(pipes)
    assert pipe.fill(source, 100) == 10
    pipes.give(pipe)
    assert pipes.take() is not pipe
    assert pipe.held == 0


def test_some_may_stay_with_their_users(pipes: PipePool) -> None:
    kept = [taken(pipes) for _ in range(MOST)]
    assert all(map(pipes.keep, kept))
    late = taken(pipes)
    assert not pipes.keep(late)
    assert pipes.keep(kept[0])  # as before
    pipes.give(kept[0])
    assert pipes.keep(late)
    assert repr(pipes) == f"<PipePool usable=True spare=1 kept={MOST}>"


def test_few_are_held_ready(pipes: PipePool) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for pipe in [taken(pipes) for _ in range(5)]:
        pipes.give(pipe)
    assert len(os.listdir("/proc/self/fd")) == before + 2 * SPARE


def test_a_socket_that_splice_cannot_handle_ends_their_use(pipes: PipePool) -> None:
    pipe = taken(pipes)
    pipe.fit = False
    pipes.give(pipe)
    assert not pipes.usable


def test_without_descriptors_there_is_none(pipes: PipePool) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        assert pipes.take() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not pipes.usable
