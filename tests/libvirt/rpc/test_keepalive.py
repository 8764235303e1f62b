"""Keepalives: libvirt's own question is answered here while the link is away, and only then."""

from __future__ import annotations

from attrs import evolve

from nbdtun.libvirt.rpc.keepalive import ANSWER, Keepalive
from nbdtun.libvirt.rpc.messages import Kind
from tests.libvirt.rpc.stage import CONVERSATION, THE_PING, THE_PONG


class Link:
    away = False

    def is_away(self) -> bool:
        return self.away


def test_while_the_link_is_there_all_passes() -> None:
    keepalive = Keepalive(Link().is_away)
    assert [keepalive.sent(message) for message in CONVERSATION] == [None] * len(CONVERSATION)


def test_while_it_is_away_a_ping_is_answered_and_nothing_else() -> None:
    link = Link()
    keepalive = Keepalive(link.is_away)
    link.away = True
    assert keepalive.sent(THE_PING) == ANSWER
    assert ANSWER == THE_PONG
    assert keepalive.sent(CONVERSATION[0]) is None
    assert keepalive.sent(THE_PONG) is None
    assert keepalive.overdue() is None


def test_one_that_the_link_has_swallowed_is_answered_once() -> None:
    link = Link()
    keepalive = Keepalive(link.is_away)
    assert keepalive.sent(THE_PING) is None
    assert keepalive.overdue() is None
    link.away = True
    assert keepalive.waits
    assert keepalive.overdue() == ANSWER
    assert keepalive.overdue() is None


def test_whatever_arrives_is_an_answer() -> None:
    link = Link()
    keepalive = Keepalive(link.is_away)
    assert keepalive.sent(THE_PING) is None
    keepalive.received()
    link.away = True
    assert keepalive.overdue() is None


def test_another_program_keeps_nothing_alive() -> None:
    link = Link()
    link.away = True
    keepalive = Keepalive(link.is_away)
    for other in (
        evolve(THE_PING, program=1),
        evolve(THE_PING, version=2),
        evolve(THE_PING, procedure=3),
        evolve(THE_PING, kind=Kind.CALL),
    ):
        assert keepalive.sent(other) is None
