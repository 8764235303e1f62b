"""
A first link whose connection is lost, at each byte of the TLS handshake, of the command and of the answer: another one is made.

Each byte is a connection or two of its own, under TLS with their handshakes. So the bytes are dealt out to several tests; `make test` runs
the first of them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nbdtun.errors import LinkLost
from tests.tunnel.stage.dialling import failure, opening
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.stage import Stage

HOW = ["end", "reset", "silence"]

#: Tests among which the bytes of an opening are dealt out, without TLS and under it.
PLAIN_HANDS, HANDS = 4, 40
#: Bytes after an opening: the first frames. An ECDSA signature varies in length, so one opening may be longer than another.
MARGIN = 40


def firsts(hands: int) -> list[Any]:
    """For each test, the first byte to cut at; the next one is so many bytes on."""
    return [1, *(pytest.param(first, marks=pytest.mark.slow) for first in range(2, hands + 1))]


@pytest.fixture
def make(make_stage: Callable[..., Stage], tls_dir: Path) -> Callable[[bool], Stage]:
    def make(secure: bool) -> Stage:
        stage = make_stage(tls_dir=tls_dir if secure else None)
        stage.cable.pair = tcp_pair
        return stage

    return make


def length(stage: Stage) -> int:
    """Bytes of an opening, both ways."""
    near, _ = stage.meet()
    carried = stage.cable.line.carried
    near.close()
    return carried


def lose(stage: Stage, byte: int, how: str, *, always: bool = False) -> None:
    """The first connection, or each, is lost when so many bytes have passed: with its end, with a reset, or without a word."""
    dial = stage.cable.dial

    def lossy(*arguments: Any, **options: Any) -> socket.socket:
        if not always:
            stage.cable.dial = dial  # type: ignore[method-assign]
        ours = dial(byte)
        stage.cable.line.loss = how
        return ours

    stage.cable.dial = lossy  # type: ignore[method-assign]


def cut(stage: Stage, byte: int, how: str) -> None:
    """The first connection is lost at this byte, and all goes well with the second one."""
    lose(stage, byte, how)
    near = stage.arrive()
    stage.pass_time(stage.terms.handshake_timeout)
    (far,) = stage.target.programs  # the destination has not opened a second one
    near.send(b"there")
    far.send(b"back")
    stage.pass_time(20)
    assert (bytes(far.got), bytes(near.got)) == (b"there", b"back"), f"{how} at byte {byte}"
    near.close()
    far.close()
    stage.pass_time(20)
    stage.cable.cut()  # a silent line hears of no end
    stage.assert_all_gone()


@pytest.mark.parametrize("first", firsts(PLAIN_HANDS))
@pytest.mark.parametrize("how", HOW)
def test_a_cut_at_each_byte(make: Callable[[bool], Stage], how: str, first: int) -> None:
    whole = length(make(False))
    assert whole > 200
    for byte in range(first, whole + MARGIN, PLAIN_HANDS):
        stage = make(False)
        stage.target.delay = 0.01 * (
            byte // PLAIN_HANDS % 2
        )  # so that the request comes again while the target is still being connected to
        cut(stage, byte, how)


@pytest.mark.parametrize("first", firsts(HANDS))
@pytest.mark.parametrize("how", HOW)
def test_a_cut_at_each_byte_under_tls(make: Callable[[bool], Stage], how: str, first: int) -> None:
    whole = length(make(True))
    assert whole > 2000
    for byte in range(first, whole + MARGIN, HANDS):
        stage = make(True)
        stage.target.delay = 0.01 * (byte // HANDS % 2)
        cut(stage, byte, how)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_a_cut_at_each_of_many_attempts(make: Callable[[bool], Stage], secure: bool, how: str) -> None:
    stage = make(secure)
    lose(stage, 100, how, always=True)
    _, outcome, ours = opening(stage)
    stage.pass_time(2 * stage.terms.handshake_timeout)
    error = failure(outcome)
    assert isinstance(error, LinkLost)
    assert stage.cable.attempts > 1
    assert ("--tls-dir" in str(error)) == (not secure or how != "silence")
    ours.close()
