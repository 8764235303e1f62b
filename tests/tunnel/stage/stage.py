"""
A stage for both ends of a tunnel, in one process and at one's own pace: real sockets, but a clock and a reactor that only move when told.

    local program -- Source -- cable -- Destination -- local program

Nothing here sleeps, so the same steps always give the same play.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nbdtun.errors import TunnelError
from nbdtun.tls.trust import Trust
from nbdtun.tunnel.channels.carried import Carried
from nbdtun.tunnel.channels.channel import Channel
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.destination.targets import Targets
from nbdtun.tunnel.protocol.records import BUFFER
from nbdtun.tunnel.runtime.runtime import Runtime
from nbdtun.tunnel.settings import Terms
from nbdtun.tunnel.source.client import Source
from nbdtun.tunnel.source.dialer import Dialer
from nbdtun.tunnel.source.forwarder import Forwarder
from tests.tunnel.stage.cable import Cable
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.pool import CountingPool
from tests.tunnel.stage.program import Far, Program
from tests.tunnel.stage.sockets import open_sockets, pair, tcp_pair


class Stage:
    """Both ends, the cable between them, and the programs at their outer sides."""

    def __init__(self, terms: Terms | None = None, far_terms: Terms | None = None, tls_dir: Path | None = None, **admission: Any) -> None:
        self.sockets = open_sockets()
        self.crank = Crank()
        self.terms = terms or Terms(window=256 * 1024)
        self.cable = Cable(self.crank)
        if tls_dir is not None:
            self.cable.pair = tcp_pair  # where the kernel can have a part in it
        self.near_pool, self.far_pool = CountingPool(), CountingPool()
        self.near_records, self.far_records = CountingPool(size=BUFFER), CountingPool(size=BUFFER)
        near_tls = (Trust(tls_dir, server=False), "localhost") if tls_dir is not None else ()
        far_tls = Trust(tls_dir, server=True) if tls_dir is not None else None
        near = Runtime(self.crank, self.terms, self.near_pool, self.crank, records=self.near_records)
        self.dialer = Dialer(near, self.cable, "the cable", *near_tls)
        self.source = Source(self.dialer)
        self.forwarder = Forwarder(self.source, "disk")
        self.targets = Targets()
        self.target = Far(self.crank)
        self.targets.add("disk", self.target)
        far = Runtime(self.crank, far_terms or self.terms, self.far_pool, self.crank, records=self.far_records)
        self.destination = Destination(far, self.targets, far_tls, **admission)
        self.cable.far = self.destination
        self.near_programs: list[Program] = []

    def ending(self) -> tuple[list[TunnelError | None], list[TunnelError | None]]:
        """How the source's and the destination's channel will have ended, once they have."""
        near: list[TunnelError | None] = []
        far: list[TunnelError | None] = []
        self.near.ended.addCallback(near.append)
        self.far.ended.addCallback(far.append)
        return near, far

    def arrive(self) -> Program:
        """A local program connects at the source."""
        ours, theirs = pair()
        program = Program(self.crank, ours)
        self.near_programs.append(program)
        self.forwarder.arrived(theirs)
        return program

    def meet(self) -> tuple[Program, Program]:
        """A local program connects; return it and the one at the target."""
        known = len(self.target.programs)
        near = self.arrive()
        self.rest()
        assert len(self.target.programs) == known + 1, "the target was not connected to"
        return near, self.target.programs[-1]

    @property
    def near(self) -> Channel:
        """The source's only channel."""
        (channel,) = all_here(self.source.channels)
        return channel

    @property
    def far(self) -> Channel:
        """The destination's only channel."""
        (channel,) = all_here(self.destination.channels)
        return channel

    def rest(self) -> None:
        self.crank.rest()

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        self.crank.pass_time(seconds, step)

    def assert_all_gone(self) -> None:
        """Nothing is left of any channel, at either end: no entry, no socket, no memory, no timer but the batched ones."""
        assert not self.source.channels
        assert not self.destination.channels
        assert self.destination.idle
        assert not len(self.destination.admission)
        assert self.forwarder.idle
        assert self.near_pool.lent == self.far_pool.lent == self.near_records.lent == self.far_records.lent == 0
        for program in (*self.near_programs, *self.target.programs):
            program.close()
        self.cable.lines = [line for line in self.cable.lines if line.open]
        self.rest()
        assert not [line for line in self.cable.lines if line.open], "a connection was left open"
        assert not self.crank.getReaders()
        assert not self.crank.getWriters()
        assert [call for call in self.crank.getDelayedCalls() if "Batches" not in repr(call)] == []
        if not open_sockets() <= self.sockets:
            gc.collect()  # what is in a cycle is closed when it is collected
        assert open_sockets() <= self.sockets


def all_here(channels: Iterable[Carried]) -> list[Channel]:
    """Those of an end without workers: each is in its own process."""
    return [channel for channel in channels if isinstance(channel, Channel)]
