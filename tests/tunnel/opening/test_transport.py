"""The beginning of a link, on a real socket: what AMP is told when the wire breaks, and when."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from nbdtun.errors import LinkLost
from nbdtun.tunnel.opening.commands import TUNNEL, ResumeChannel
from nbdtun.tunnel.opening.transport import Opening, OpeningTransport
from nbdtun.tunnel.protocol.slab import SlabPool
from nbdtun.tunnel.settings import Records, Terms
from nbdtun.tunnel.wires.batched import BatchedWire
from nbdtun.tunnel.wires.tls import TLSWire
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.stage import Stage


def test_a_wire_that_breaks_under_the_question_fails_the_question() -> None:
    """AMP remembers what it has asked only after it has written it; who told it of the loss before that broke it."""
    crank = Crank()
    ours, theirs = socket.socketpair()
    opening = Opening()
    transport = OpeningTransport(crank, ours, "the peer", opening, 10, None, SlabPool())
    crank.turn()
    theirs.close()
    asked = opening.callRemote(ResumeChannel, ClientFactory(), **TUNNEL.offer(), channel=b"x" * 16, received=0)
    outcome: list[Any] = []
    asked.addBoth(outcome.append)
    crank.rest()
    assert isinstance(outcome[0], Failure)
    assert outcome[0].check(LinkLost)
    assert str(outcome[0].value).startswith("the peer: ")
    assert transport.wire.closed
    assert not crank.getDelayedCalls()


def test_a_wire_that_breaks_under_the_answer_is_the_links_to_find_out() -> None:
    crank = Crank()
    ours, theirs = socket.socketpair()
    transport = OpeningTransport(crank, ours, "the peer", Opening(), 10, None, SlabPool())
    crank.turn()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()
    transport.write(b"the answer")
    wire, rest = transport.release()
    wire.listen(False)
    crank.rest()
    assert not wire.closed
    assert rest is not None
    assert bytes(rest) == b"the answer"
    wire.close()


class TestTLS:
    @pytest.mark.parametrize("near", Records)
    @pytest.mark.parametrize("far", Records)
    def test_each_end_makes_its_records_as_it_likes(
        self, make_stage: Callable[..., Stage], tls_dir: Path, near: Records, far: Records
    ) -> None:
        stage = make_stage(Terms(records=near), Terms(records=far), tls_dir=tls_dir)
        here, there = stage.meet()
        here.send(noise(300_000, 1))
        there.send(noise(300_000, 2))
        stage.pass_time(1)
        assert (bytes(there.got), bytes(here.got)) == (noise(300_000, 1), noise(300_000, 2))
        kinds = {Records.BATCHED: BatchedWire, Records.LIBRARY: TLSWire}
        for channel, records in ((stage.near, near), (stage.far, far)):
            assert channel.link is not None
            assert type(channel.link.wire) is kinds[records]

    def test_without_tls_there_are_no_records(self, stage: Stage) -> None:
        stage.meet()
        assert stage.near.link is not None
        assert stage.near.link.wire.plain

    @pytest.mark.parametrize("byte", [0, 1, 2, 3, 4, 1000, -1])
    def test_a_bit_that_flips_on_the_way_costs_a_link_and_no_byte(self, make_stage: Callable[..., Stage], tls_dir: Path, byte: int) -> None:
        stage = make_stage(tls_dir=tls_dir)
        near, far = stage.meet()
        stage.pass_time(1)
        flow, sent = stage.cable.line.there, noise(50_000, 2)
        flow.stalled = True
        near.send(sent)
        stage.rest()
        flow._fetch(1 << 20)
        flow.held[byte] ^= 1
        flow.stalled = False
        stage.pass_time(30)
        assert far.got == sent
        assert stage.source.ledger.whole.resumes == 1

    def test_a_line_that_is_too_slow_for_a_record_in_time_is_not_dead(self, make_stage: Callable[..., Stage], tls_dir: Path) -> None:
        """Of a record that comes in drops nothing is told; but it comes."""
        stage = make_stage(Terms(window=1 << 20, link_timeout=3), tls_dir=tls_dir)
        near, far = stage.meet()
        stage.pass_time(1)
        flow, sent = stage.cable.line.there, noise(200_000)
        flow.stalled = True
        near.send(sent)
        for _ in range(12):
            stage.pass_time(1)
            flow.stalled = False
            flow.move(20_000)
            flow.stalled = True
        flow.stalled = False
        stage.pass_time(1)
        assert far.got == sent
        assert stage.source.ledger.whole.resumes == 0
