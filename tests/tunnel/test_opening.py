"""The beginning of a link, on a real socket: what AMP is told when the wire breaks, and when."""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure

from nbdtun.errors import LinkLost
from nbdtun.tunnel.commands import VERSION, ResumeChannel
from nbdtun.tunnel.opening import Opening, OpeningTransport
from tests.tunnel.crank import Crank


def test_a_wire_that_breaks_under_the_question_fails_the_question() -> None:
    """AMP remembers what it has asked only after it has written it; who told it of the loss before that broke it."""
    crank = Crank()
    ours, theirs = socket.socketpair()
    opening = Opening()
    transport = OpeningTransport(crank, ours, "the peer", opening, 10)
    crank.turn()
    theirs.close()
    asked = opening.callRemote(ResumeChannel, ClientFactory(), version=VERSION, channel=b"x" * 16, received=0)
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
    transport = OpeningTransport(crank, ours, "the peer", Opening(), 10)
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
