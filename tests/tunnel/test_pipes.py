"""The pipes of a process: who has one, how many may stay away, and what becomes of those that come back."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator

import pytest

from nbdtun.tunnel.pipe import Pipe
from nbdtun.tunnel.pipes import MOST, SPARE, Pipes


@pytest.fixture
def pipes() -> Pipes:
    return Pipes()


@pytest.fixture
def source() -> Iterator[int]:
    """A descriptor from which ten bytes can be read."""
    ours, theirs = socket.socketpair()
    theirs.send(b"ten bytes!")
    with ours, theirs:
        yield ours.fileno()


def taken(pipes: Pipes) -> Pipe:
    pipe = pipes.take()
    assert pipe is not None
    return pipe


def test_one_that_is_empty_is_lent_again(pipes: Pipes) -> None:
    pipe = taken(pipes)
    pipes.give(pipe)
    assert pipes.take() is pipe
    assert pipes.take() is not pipe


def test_what_one_holds_is_nobody_elses(pipes: Pipes, source: int) -> None:
    pipe = taken(pipes)
    assert pipe.fill(source, 100) == 10
    pipes.give(pipe)
    assert pipes.take() is not pipe
    assert pipe.held == 0


def test_some_may_stay_with_their_users(pipes: Pipes) -> None:
    kept = [taken(pipes) for _ in range(MOST)]
    assert all(map(pipes.keep, kept))
    late = taken(pipes)
    assert not pipes.keep(late)
    assert pipes.keep(kept[0])  # as before
    pipes.give(kept[0])
    assert pipes.keep(late)
    assert repr(pipes) == f"<Pipes usable=True spare=1 kept={MOST}>"


def test_few_are_held_ready(pipes: Pipes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for pipe in [taken(pipes) for _ in range(5)]:
        pipes.give(pipe)
    assert len(os.listdir("/proc/self/fd")) == before + 2 * SPARE


def test_a_socket_that_splice_cannot_handle_ends_their_use(pipes: Pipes) -> None:
    pipe = taken(pipes)
    pipe.fit = False
    pipes.give(pipe)
    assert not pipes.usable


def test_without_descriptors_there_is_none(pipes: Pipes) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        assert pipes.take() is None
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not pipes.usable
