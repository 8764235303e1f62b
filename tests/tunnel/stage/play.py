"""A play of random talks through a tunnel whose cable is cut at random."""

from __future__ import annotations

import random

from tests.tunnel.stage.program import Program
from tests.tunnel.stage.stage import Stage, all_here


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


class Play:
    """Three talks at a time, of which one is long; the cable is cut now and then, and carries pieces of any size."""

    def __init__(self, stage: Stage, seed: int, cuts: bool) -> None:
        self._stage = stage
        self._dice = dice = random.Random(seed)
        if cuts:
            stage.cable.next_cut = lambda: dice.randrange(1, dice.choice([500, 50_000, 300_000]))
        self._talks = [self._begin(sizes) for sizes in ((400_000,), (0, 1, 5_000, 300_000), (0, 1, 5_000, 300_000))]
        self._sent = {channel.ident: channel for channel in all_here(stage.source.channels)}
        self._received = {channel.ident: channel for channel in all_here(stage.destination.channels)}
        self._errors: list[object] = []
        for channel in stage.source.channels:
            channel.ended.addCallback(self._errors.append)

    def _begin(self, sizes: tuple[int, ...]) -> Talk:
        stage = self._stage
        known = len(stage.target.programs)
        near = stage.arrive()
        for _ in range(200):
            if len(stage.target.programs) > known:
                break
            stage.pass_time(0.2)
        return Talk(self._dice, near, stage.target.programs[-1], sizes)

    @property
    def all_said(self) -> bool:
        return all(talk.all_said for talk in self._talks)

    def go_on(self) -> None:
        """Everybody says a little more, and a little time passes."""
        stage, dice = self._stage, self._dice
        for talk in self._talks:
            talk.go_on(dice)
        for line in stage.cable.lines:
            line.there.chunk, line.back.chunk = dice.choice([1, 50, 5000, 1 << 20]), dice.choice([1, 50, 5000, 1 << 20])
        for _ in range(dice.randrange(1, 6)):
            stage.crank.turn()
        stage.crank.advance(dice.choice([0, 0.01, 0.3]))

    def come_to_rest(self) -> None:
        """Nothing is in the way any more: what is still under way arrives."""
        stage = self._stage
        stage.cable.next_cut = lambda: None
        for line in stage.cable.lines:
            line.there.chunk = line.back.chunk = 1 << 20
        for talk in self._talks:
            talk.near.reads = talk.far.reads = True
        stage.pass_time(10)

    def check(self) -> None:
        """All has arrived, both ends have counted alike, and nothing is left."""
        for talk in self._talks:
            assert talk.far.got == talk.there
            assert talk.near.got == talk.back
            assert talk.near.got_end
            assert talk.far.got_end
        assert self._errors == [None] * 3
        for ident, near_end in self._sent.items():
            assert near_end.outbound.end == self._received[ident].inbound.written - 1
            assert near_end.inbound.written - 1 == self._received[ident].outbound.end
        assert self._stage.near_pool.most <= 3 * 6
        self._stage.assert_all_gone()
