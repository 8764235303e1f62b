"""What is to be done before the local program hears of an end."""

from __future__ import annotations

import socket

from twisted.internet.defer import Deferred

from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.side import Side
from tests.tunnel.stage.sockets import open_sockets, pair


class Parting:
    """What is to be done before the local program hears of an end; it takes until ``done``."""

    def __init__(self, crank: Crank) -> None:
        self.asked = 0
        self.done: Deferred[None] = Deferred()
        ours, self.program = pair()
        self.program.setblocking(False)
        self.side = Side(crank, ours, farewell=self)
        self.side.splice.make_room()
        self.sockets = open_sockets()

    def __call__(self) -> Deferred[None]:
        self.asked += 1
        return self.done

    def heard_end(self) -> bool:
        """Whether the local program has been told of an end."""
        try:
            return self.program.recv(100) == b""
        except BlockingIOError:
            return False


class TestFarewell:
    def test_an_end_waits_for_it(self, crank: Crank) -> None:
        parting = Parting(crank)
        parting.side.deliver(b"last")
        assert parting.program.recv(100) == b"last"
        parting.side.end()
        parting.side.splice.write_end()
        crank.rest()
        assert (parting.asked, parting.heard_end(), parting.side.inbound.done) == (1, False, False)
        parting.done.callback(None)
        assert parting.heard_end()
        assert parting.side.inbound.done
        assert parting.side.writes, "the end is acknowledged"

    def test_a_close_waits_for_it(self, crank: Crank) -> None:
        parting = Parting(crank)
        parting.side.splice.close()
        crank.rest()
        assert (parting.asked, parting.heard_end()) == (1, False)
        parting.done.callback(None)
        assert parting.heard_end()

    def test_a_close_behind_an_end(self, crank: Crank) -> None:
        parting = Parting(crank)
        parting.side.end()
        parting.side.splice.close()
        assert (parting.asked, parting.heard_end()) == (1, False)
        parting.done.callback(None)
        assert parting.heard_end()
        assert len(open_sockets() - parting.sockets) == 0

    def test_one_that_fails_is_over_too(self, crank: Crank) -> None:
        parting = Parting(crank)
        parting.side.end()
        parting.done.errback(RuntimeError("QEMU is gone"))
        assert parting.heard_end()
        parting.done.addErrback(lambda _: None)

    def test_a_program_that_has_ended_first_needs_none(self, crank: Crank) -> None:
        parting = Parting(crank)
        parting.program.shutdown(socket.SHUT_WR)
        crank.rest()
        parting.side.end()
        assert parting.heard_end()
        parting.side.splice.close()
        assert not parting.asked
