"""Random data both ways through both ends of a tunnel whose cable is cut at random: what comes out is what went in, and nothing is left."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nbdtun.tls import ktls
from nbdtun.tunnel.settings import Records, Terms
from tests.tunnel.stage.play import Play
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.stage import Stage

WINDOW = 128 * 1024


def play(stage: Stage, seed: int, cuts: bool) -> int:
    """Play to the end; return the number of links that were replaced."""
    one = Play(stage, seed, cuts)
    while not one.all_said:
        one.go_on()
    one.come_to_rest()
    one.check()
    return stage.source.ledger.whole.resumes


@pytest.mark.parametrize("seed", range(10))
def test_random_cuts(make_stage: Callable[..., Stage], seed: int) -> None:
    stage = make_stage(Terms(window=WINDOW, handshake_timeout=120))
    assert play(stage, seed, cuts=True) > 0, "nothing was cut"


@pytest.mark.parametrize("seed", range(3))
def test_random_cuts_of_tcp(make_stage: Callable[..., Stage], seed: int) -> None:
    stage = make_stage(Terms(window=WINDOW, handshake_timeout=120))
    stage.cable.pair = tcp_pair
    play(stage, seed, cuts=True)


@pytest.mark.parametrize("seed", range(4))
def test_random_cuts_under_tls(make_stage: Callable[..., Stage], tls_dir: Path, seed: int) -> None:
    stage = make_stage(Terms(window=WINDOW, handshake_timeout=120), None, tls_dir)
    play(stage, seed, cuts=False)
    stage = make_stage(Terms(window=WINDOW, handshake_timeout=120), None, tls_dir)
    stage.cable.room = 20_000
    play_resumed(stage, seed)


def play_resumed(stage: Stage, seed: int) -> None:
    """As :func:`play`, but the first connection stands: a handshake that is cut while a channel is opened is reported, not repeated."""
    dice = random.Random(seed)
    near, far = stage.meet()
    there, back = dice.randbytes(500_000), dice.randbytes(500_000)
    near.send(there).shut()
    far.send(back).shut()
    stage.cable.next_cut = lambda: dice.randrange(1, 200_000)
    for _ in range(40):
        stage.cable.line.cut_after = stage.cable.line.cut_after or stage.cable.line.carried + dice.randrange(1, 100_000)
        stage.pass_time(0.5)
    stage.cable.next_cut = lambda: None
    stage.cable.cut()
    stage.pass_time(20)
    assert far.got == there
    assert near.got == back
    assert stage.source.ledger.whole.resumes > 3
    stage.assert_all_gone()


@pytest.mark.skipif(ktls.obstacle() is not None, reason=ktls.explain())
def test_a_channel_is_encrypted_by_the_kernel(make_stage: Callable[..., Stage], tls_dir: Path, said: list[str]) -> None:
    stage = make_stage(Terms(records=Records.LIBRARY), Terms(records=Records.LIBRARY), tls_dir=tls_dir)
    near = stage.arrive()
    near.send(b"hello")
    stage.pass_time(1)
    assert stage.target.programs[-1].got == b"hello"
    assert any(line.endswith("is open, encrypted by the kernel") for line in said), said
    assert all(channel.in_kernel for channel in (*stage.source.channels, *stage.destination.channels))
