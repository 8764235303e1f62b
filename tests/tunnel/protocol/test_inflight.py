"""Who may have how much under way, and that whoever has little is told in time."""

from __future__ import annotations

import pytest

from nbdtun.tunnel.protocol.frames import Decoder
from nbdtun.tunnel.protocol.inbound import Inbound
from nbdtun.tunnel.protocol.inflight import LEAST, InFlight, ack_interval
from nbdtun.tunnel.protocol.outbound import FULL, Outbound
from nbdtun.tunnel.protocol.slab import SlabPool
from tests.tunnel.stage.heard import Heard
from tests.tunnel.stage.reading import reading

MIB = 1 << 20
WINDOW = 16 * MIB


@pytest.mark.parametrize(
    ("busy", "bdp", "allowance"),
    [
        (0, 4 * MIB, 4 * MIB),  # alone, all that the line holds is its own
        (1, 4 * MIB, 4 * MIB),
        (2, 4 * MIB, 2 * MIB),
        (8, 4 * MIB, 512 * 1024),
        (100, 4 * MIB, LEAST),  # less is not worth a read
        (8, 1000 * MIB, WINDOW),  # a long line holds it all
        (2, 20 * MIB, 10 * MIB),
    ],
)
def test_shares(busy: int, bdp: int, allowance: int) -> None:
    inflight = InFlight()
    inflight.busy = busy
    assert inflight.allowance(WINDOW, bdp) == allowance


def test_a_window_that_is_smaller_is_the_share() -> None:
    inflight = InFlight()
    inflight.busy = 8
    assert inflight.allowance(64 * 1024, 4 * MIB) == 64 * 1024


@pytest.mark.parametrize(("busy", "asks"), [(1, 2), (2, 2), (3, 2), (4, 1), (8, 1), (100, 1)])
def test_how_often_an_acknowledgement_is_asked_for_in_a_share(busy: int, asks: int) -> None:
    inflight = InFlight()
    inflight.busy = busy
    allowance = inflight.allowance(WINDOW, 2 * MIB)
    assert allowance // ack_interval(allowance) == asks


class Receiver(Heard):
    """The other end, whose local program takes everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.inbound = Inbound(WINDOW, SlabPool())

    def ack_asked(self, offset: int) -> None:
        self.inbound.asked(offset)

    def data_received(self, offset: int, piece: memoryview) -> None:
        self.inbound.accept(offset, len(piece))
        self.inbound.wrote(len(piece))


def send(sender: Outbound, decoder: Decoder, count: int) -> None:
    assert sender.read(reading(bytes(count))) != FULL
    frame = sender.next_frame()
    assert frame is not None
    decoder.feed(frame)
    sender.leaving = False


@pytest.mark.parametrize("piece", [1000, 50_000, 185_000, 1 << 20])
@pytest.mark.parametrize("busy", [0, 1, 7, 40])
@pytest.mark.parametrize("bdp", [None, 4 * MIB, 1000 * MIB])
def test_a_sender_that_may_not_send_more_has_been_acknowledged(busy: int, piece: int, bdp: int | None) -> None:
    """However little its allowance is, it never waits for an acknowledgement that the other end holds back."""
    inflight = InFlight()
    inflight.busy = busy
    sender, receiver = Outbound(WINDOW, SlabPool(), inflight), Receiver()
    sender.bdp = bdp
    decoder = Decoder(receiver)
    acknowledgements = 0
    while sender.end < 40 * MIB:
        if sender.roomy:
            send(sender, decoder, piece)
        else:
            assert receiver.inbound.ack_due
        if receiver.inbound.ack_due:
            sender.acknowledge(receiver.inbound.take_ack())
            acknowledgements += 1
    if bdp is None:
        assert acknowledgements <= 40, "not more often than each MiB, the receiver's own rhythm"


def test_who_is_done_is_busy_no_more() -> None:
    inflight = InFlight()
    first, second = Outbound(WINDOW, SlabPool(), inflight), Outbound(WINDOW, SlabPool(), inflight)
    for stream in (first, second):
        stream.bdp = 4 * MIB
        assert stream.read(reading(bytes(1000))) == 1000
        stream.next_frame()
        stream.leaving = False
    assert inflight.busy == 2
    second.acknowledge(1000)
    assert inflight.busy == 1
    first.clear()
    assert repr(inflight) == "<InFlight busy=0>"


def test_a_share_that_shrinks_is_asked_for_before_it_closes() -> None:
    """Nobody would acknowledge in time what was sent when there was more room, and so not asked for."""
    inflight = InFlight()
    sender, receiver = Outbound(WINDOW, SlabPool(), inflight), Receiver()
    sender.bdp = 2 * MIB
    decoder = Decoder(receiver)
    for _ in range(4):
        send(sender, decoder, 200_000)
    inflight.busy = 9
    sender.acknowledge(200_000)
    assert sender.roomy
    assert not receiver.inbound.ack_due
    send(sender, decoder, 200_000)
    assert receiver.inbound.ack_due
    assert sender.read(reading(b"more")) == FULL
    assert not sender.roomy


def test_what_was_asked_for_is_not_forgotten_for_an_acknowledgement_between() -> None:
    inbound = Inbound(WINDOW, SlabPool())
    inbound.asked(1000)
    inbound.asked(2000)
    inbound.accept(0, 2000)
    inbound.wrote(1500)
    assert inbound.ack_due
    assert inbound.take_ack() == 1500
    assert not inbound.ack_due
    inbound.wrote(500)
    assert inbound.ack_due
    assert inbound.take_ack() == 2000
    inbound.accept(2000, 1000)
    inbound.wrote(1000)
    assert not inbound.ack_due
