"""Random data both ways through both ends of a tunnel whose cable is cut at random: what comes out is what went in, and nothing is left."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from nbdtun.tls import ktls
from nbdtun.tunnel.settings import Records, Terms
from tests.tunnel.stage.program import Program
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.stage import Stage, all_here

WINDOW = 128 * 1024


class Talk:
    """One channel: what either program says, and in what pieces."""

    def __init__(self, dice: random.Random, near: Program, far: Program, sizes: tuple[int, ...]) -> None:
        self.near, self.far = near, far
        self.there = dice.randbytes(dice.choice(sizes))
        self.back = dice.randbytes(dice.choice(sizes))
        self._said = [0, 0]

    def go_on(self, dice: random.Random) -> None:
        """Say a little more, or stop reading for a while."""
        for which, (program, data) in enumerate(((self.near, self.there), (self.far, self.back))):
            program.reads = dice.random() < 0.8
            said = self._said[which]
            if said <= len(data):
                piece = data[said : said + dice.choice([1, 100, 50_000])]
                program.send(piece)
                self._said[which] += len(piece)
                if self._said[which] == len(data):
                    program.shut()
                    self._said[which] += 1

    @property
    def all_said(self) -> bool:
        return self._said == [len(self.there) + 1, len(self.back) + 1]


def play(stage: Stage, seed: int, cuts: bool) -> int:
    """Play to the end; return the number of links that were replaced."""
    dice = random.Random(seed)
    if cuts:
        stage.cable.next_cut = lambda: dice.randrange(1, dice.choice([500, 50_000, 300_000]))
    talks = []
    for sizes in ((400_000,), (0, 1, 5_000, 300_000), (0, 1, 5_000, 300_000)):
        known = len(stage.target.programs)
        near = stage.arrive()
        for _ in range(200):
            if len(stage.target.programs) > known:
                break
            stage.pass_time(0.2)
        talks.append(Talk(dice, near, stage.target.programs[-1], sizes))
    endings = [channel.ended for channel in stage.source.channels]
    sent = {channel.ident: channel for channel in all_here(stage.source.channels)}
    received = {channel.ident: channel for channel in all_here(stage.destination.channels)}
    errors: list[object] = []
    for ending in endings:
        ending.addCallback(errors.append)
    while not all(talk.all_said for talk in talks):
        for talk in talks:
            talk.go_on(dice)
        for line in stage.cable.lines:
            line.there.chunk, line.back.chunk = dice.choice([1, 50, 5000, 1 << 20]), dice.choice([1, 50, 5000, 1 << 20])
        for _ in range(dice.randrange(1, 6)):
            stage.crank.turn()
        stage.crank.advance(dice.choice([0, 0.01, 0.3]))
    stage.cable.next_cut = lambda: None
    for line in stage.cable.lines:
        line.there.chunk = line.back.chunk = 1 << 20
    for talk in talks:
        talk.near.reads = talk.far.reads = True
    stage.pass_time(10)
    for talk in talks:
        assert talk.far.got == talk.there
        assert talk.near.got == talk.back
        assert talk.near.got_end
        assert talk.far.got_end
    assert errors == [None] * 3
    for ident, near_end in sent.items():
        assert near_end.outbound.end == received[ident].inbound.written - 1
        assert near_end.inbound.written - 1 == received[ident].outbound.end
    assert stage.near_pool.most <= 3 * 6
    stage.assert_all_gone()
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
