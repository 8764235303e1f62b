"""Single cases of the receiving half; any interleaving with the sending one is in ``tests/properties``."""

from __future__ import annotations

import pytest

from nbdtun.errors import ProtocolViolation
from nbdtun.tunnel.protocol.inbound import ACK_EVERY, Inbound
from nbdtun.tunnel.protocol.slab import SlabPool

MIB = 1 << 20


def inbound(window: int = MIB) -> Inbound:
    return Inbound(window, SlabPool())


def test_bytes_come_in_order_and_once() -> None:
    stream = inbound()
    stream.accept(0, 10)
    for offset in (0, 9, 11):
        with pytest.raises(ProtocolViolation, match=f"data for offset {offset} arrived, but 10 is next"):
            stream.accept(offset, 5)
    stream.accept(10, 5)
    assert stream.received == 15


def test_no_more_than_the_window_waits() -> None:
    stream = inbound(100)
    stream.accept(0, 100)
    with pytest.raises(ProtocolViolation, match="more than the window of 100 B arrived"):
        stream.accept(100, 1)
    stream.wrote(1)
    stream.accept(100, 1)
    with pytest.raises(ProtocolViolation):
        stream.expect(101, 1)


def test_the_end_counts_as_one() -> None:
    stream = inbound()
    stream.accept(0, 10)
    stream.accept_end(10)
    assert (stream.received, stream.final) == (11, 10)
    stream.wrote(10)
    assert (stream.ended, stream.done, stream.ack_due) == (True, False, False)
    stream.wrote(1)
    assert (stream.ended, stream.done, stream.ack_due) == (False, True, True)
    assert stream.take_ack() == 11
    assert not stream.ack_due


@pytest.mark.parametrize("offset", [9, 11])
def test_both_must_have_counted_the_same(offset: int) -> None:
    stream = inbound()
    stream.accept(0, 10)
    with pytest.raises(ProtocolViolation, match=f"the stream ends at {offset}, but 10 bytes arrived"):
        stream.accept_end(offset)


def test_nothing_follows_the_end() -> None:
    stream = inbound()
    stream.accept_end(0)
    with pytest.raises(ProtocolViolation):
        stream.accept(0, 1)
    with pytest.raises(ProtocolViolation):
        stream.accept_end(0)


@pytest.mark.parametrize(("window", "every"), [(64 * MIB, ACK_EVERY), (MIB, MIB // 4)])
def test_it_is_acknowledged_before_the_sender_has_to_stop(window: int, every: int) -> None:
    stream = inbound(window)
    stream.accept(0, every)
    stream.wrote(every - 1)
    assert not stream.ack_due
    stream.wrote(1)
    assert stream.ack_due
    assert stream.take_ack() == stream.acked == every
    assert (stream.ack_due, stream.owed) == (False, 0)


def test_who_asks_is_told_sooner() -> None:
    stream = inbound()
    stream.accept(0, 1000)
    stream.asked(600)
    stream.wrote(599)
    assert not stream.ack_due
    stream.wrote(1)
    assert stream.ack_due
    assert stream.take_ack() == 600


def test_who_asks_for_more_than_is_acknowledged_now_is_told_again() -> None:
    stream = inbound()
    stream.accept(0, 1000)
    stream.asked(400)
    stream.asked(900)
    stream.wrote(400)
    assert stream.take_ack() == 400
    stream.wrote(499)
    assert not stream.ack_due
    stream.wrote(1)
    assert stream.ack_due


def test_an_acknowledgement_that_travels_along_is_worth_it_sooner() -> None:
    stream = inbound(64 * MIB)
    stream.accept(0, MIB)
    stream.wrote(ACK_EVERY // 16 - 1)
    assert stream.ack_along() is None
    stream.wrote(1)
    assert not stream.ack_due
    assert stream.ack_along() == ACK_EVERY // 16
    assert stream.ack_along() is None


@pytest.mark.parametrize("kind", ["end", "asked"])
def test_one_that_is_due_travels_along_however_small_it_is(kind: str) -> None:
    """A stream that always has data to send would never have a frame for it alone."""
    stream = inbound(64 * MIB)
    stream.accept(0, 1000)
    stream.asked(1000) if kind == "asked" else stream.accept_end(1000)
    stream.wrote(stream.received)
    assert stream.ack_due
    assert stream.ack_along() == stream.received
    assert stream.ack_along() is None


def test_a_smaller_window_is_acknowledged_more_often_from_then_on() -> None:
    stream = inbound(64 * MIB)
    stream.agree(MIB)
    stream.accept(0, MIB // 4)
    stream.wrote(MIB // 4)
    assert stream.ack_due
    assert repr(stream) == f"<Inbound {MIB // 4}..{MIB // 4} final=None>"
