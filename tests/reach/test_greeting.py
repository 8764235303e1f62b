from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport

from nbdtun import __version__
from nbdtun.errors import LinkLost, NotInstalled, ProtocolViolation, ReachError
from nbdtun.reach.commands import VERSION
from nbdtun.reach.greeting import MAX_BEFORE, TALK, Calling, Mark, far_proof, link, mark, near_proof, purpose

SECRET = b"s" * 32


class Kept(Protocol):
    def __init__(self) -> None:
        self.data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data


class Call:
    """A connection, and what comes of it."""

    def __init__(self, line: bytes = TALK) -> None:
        self.calling = Calling(line)
        self.transport: Any = StringTransport()
        self.calling.makeConnection(self.transport)
        self.got: list[Any] = []
        self.calling.met.addCallbacks(self.got.append, lambda failure: self.got.append(failure.value))


def test_both_ends_say_a_line() -> None:
    call = Call()
    assert call.transport.value() == b"talk\n"
    call.calling.dataReceived(mark())
    assert call.got == [Mark(VERSION, VERSION, __version__, "-")]
    call.got[0].check()


def test_shells_that_print_are_heard_out() -> None:
    call = Call()
    for piece in (b"Welcome to dest!\nnbdtun-rec", b"eive/x\n\x1b[1mnbdtun-receive/1 0.1", b".0 -\nbehind"):
        call.calling.dataReceived(piece)
    assert [found.lowest for found in call.got] == [1]
    kept = Kept()
    call.calling.give_way(kept)
    assert kept.data == b"behind"
    assert call.transport.protocol is kept
    assert call.transport.producerState == "producing"


def test_one_that_prints_without_end_is_hung_up_on() -> None:
    call = Call()
    call.calling.dataReceived(b"x" * (MAX_BEFORE + 1))
    assert call.transport.disconnecting or call.transport.disconnected


def test_it_ends_before_the_marker() -> None:
    call = Call()
    call.calling.connectionLost()
    assert isinstance(call.got[0], LinkLost)


def test_another_version_is_told() -> None:
    with pytest.raises(NotInstalled, match=r"the far end's nbdtun 9.0 speaks version 2 of the dialogue, and this one 1; install the same"):
        Mark(2, 2, "9.0", "-").check()
    with pytest.raises(NotInstalled, match="speaks version 2 to 4 of the dialogue, and this one 1"):
        Mark(2, 4, "9.0", "-").check()


def test_one_that_speaks_ours_too_is_well_met() -> None:
    call = Call()
    call.calling.dataReceived(b"nbdtun-receive/1-3 9.0 -\n")
    call.got[0].check()


def test_a_link_proves_both_ends() -> None:
    assert purpose(link(SECRET)) == near_proof(SECRET) != far_proof(SECRET)
    call = Call(link(SECRET))
    call.calling.dataReceived(mark(far_proof(SECRET)))
    call.got[0].check(far_proof(SECRET))
    with pytest.raises(ReachError, match="another far end has answered"):
        call.got[0].check(far_proof(b"other"))


def test_the_far_end_knows_what_a_connection_is_for() -> None:
    assert purpose(TALK) is None


@pytest.mark.parametrize("line", [b"", b"talk", b"talk\nmore", b"link \n", b"link " + b"0" * 63 + b"\n", b"GET / HTTP/1.1\n", b"\xff\n"])
def test_or_that_it_is_for_nothing(line: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        purpose(line)
