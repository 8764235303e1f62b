"""Joining a local socket to a channel's two streams: half-closes, hang-ups, and a reader that is slow or gone."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import time

import pytest

from nbdtun.tunnel.channels import splice
from nbdtun.tunnel.wires.plain import Wire
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.side import WINDOW, Side, beside, take
from tests.tunnel.stage.sockets import tcp_pair


@pytest.fixture(params=[socket.socketpair, tcp_pair], ids=["unix", "tcp"])
def joined(crank: Crank, request: pytest.FixtureRequest) -> tuple[Side, socket.socket]:
    return beside(crank, request.param)


def reset(program: socket.socket) -> None:
    """Close a TCP connection as a program does that is killed with data unread, or that wants it so."""
    program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    program.close()


Joined = tuple[Side, socket.socket]


class TestFromTheProgram:
    def test_what_it_writes_fills_the_stream(self, crank: Crank, joined: Joined) -> None:
        side, program = joined
        program.send(b"hello")
        crank.rest()
        assert side.fills == 1
        assert side.sent() == b"hello"

    def test_nothing_is_read_before_there_is_room(self, crank: Crank) -> None:
        ours, theirs = socket.socketpair()
        side = Side(crank, ours)
        theirs.send(b"early")
        crank.rest()
        assert side.outbound.end == 0
        side.splice.make_room()
        crank.rest()
        assert side.sent() == b"early"

    def test_it_is_stopped_after_a_window(self, crank: Crank, joined: Joined) -> None:
        side, program = joined
        program.send(bytes(150_000))
        crank.rest()
        assert WINDOW - 64 <= side.outbound.end <= WINDOW
        assert len(side.sent()) == side.outbound.end
        crank.rest()
        assert side.outbound.end == 150_000

    def test_its_half_close_ends_one_direction(self, crank: Crank, joined: Joined) -> None:
        side, program = joined
        program.send(b"question")
        program.shutdown(socket.SHUT_WR)
        crank.rest()
        assert side.outbound.final == 8
        side.deliver(b"answer")
        assert program.recv(100) == b"answer"

    def test_its_tail_is_read_after_it_has_gone(self, crank: Crank, joined: Joined) -> None:
        """With the window full, and more in the socket than fits: nobody is reading when it closes."""
        side, program = joined
        data = noise(150_000)
        program.send(data)
        crank.rest()
        program.close()
        crank.rest()
        got = side.sent()
        crank.rest()
        assert got + side.sent() == data
        assert side.outbound.final == 150_000

    def test_its_tail_is_read_although_it_left_our_bytes_unread(self, crank: Crank) -> None:
        """Then the kernel reports a reset, which on a UNIX socket is an end like any other."""
        side, program = beside(crank, socket.socketpair)
        side.deliver(b"unread")
        program.send(b"the tail")
        program.close()
        crank.rest()
        assert side.sent() == b"the tail"
        assert side.outbound.final == 8

    def test_its_tail_is_read_although_we_wait_for_room(self, crank: Crank) -> None:
        side, program = beside(crank, socket.socketpair)
        data = noise(150_000)
        program.send(data)
        crank.rest()
        while not side.inbound.backlog:
            side.inbound.window += 100_000
            side.deliver(bytes(100_000))
        program.close()
        crank.rest()
        assert not side.inbound.backlog
        got = side.sent()
        crank.rest()
        assert got + side.sent() == data
        assert side.outbound.final == 150_000


class TestToTheProgram:
    def test_what_it_does_not_take_is_kept(self, crank: Crank, joined: Joined) -> None:
        side, program = joined
        side.inbound.window = 1 << 24
        sent = bytearray()
        dice = random.Random(2)
        while len(side.inbound.backlog) < 1_000_000:
            sent += dice.randbytes(100_000)
            side.deliver(bytes(sent[-100_000:]))
        assert side.inbound.written + len(side.inbound.backlog) == side.inbound.received
        got = bytearray()
        while len(got) < len(sent):
            got += take(crank, program)
        crank.rest()
        assert got == sent
        assert side.pool.lent == 0

    def test_its_end_comes_behind_all_that_was_kept(self, crank: Crank, joined: Joined) -> None:
        side, program = joined
        side.inbound.window = 1 << 24
        while not side.inbound.backlog:
            side.deliver(bytes(100_000))
        side.end()
        assert not side.inbound.done
        got = 0
        while piece := take(crank, program):
            got += len(piece)
        assert got == side.inbound.received - 1
        assert side.inbound.done

    def test_who_never_reads_does_not_hold_the_other_end_up(self, crank: Crank, joined: Joined) -> None:
        side, program = joined
        program.close()
        for _ in range(20):
            side.deliver(bytes(50_000))
            crank.rest()
        side.end()
        assert side.splice.write_error is not None
        assert side.inbound.done
        assert side.pool.lent == 0

    def test_who_only_stops_reading_may_go_on_writing(self, crank: Crank) -> None:
        ours, program = socket.socketpair()
        side = Side(crank, ours)
        side.splice.make_room()
        program.shutdown(socket.SHUT_RD)
        side.deliver(b"unwanted")
        crank.rest()
        assert side.splice.write_error is not None
        program.send(b"still talking")
        crank.rest()
        assert side.sent() == b"still talking"
        assert side.outbound.final is None

    def test_closed_it_is_quiet(self, crank: Crank, joined: Joined) -> None:
        side, program = joined
        program.send(b"unread")
        side.splice.close()
        side.splice.make_room()
        crank.rest()
        assert side.outbound.end == 0
        assert not crank.getReaders()


class Sick(Wire):
    """A wire whose socket has this trouble when it is written to, or read."""

    trouble: int | None = None

    def write(self, data: memoryview) -> int:
        self._ail()
        return super().write(data)

    def write_all(self, pieces: list[memoryview]) -> int:
        self._ail()
        return super().write_all(pieces)

    def read_into(self, buffer: memoryview) -> int | None:
        self._ail()
        return super().read_into(buffer)

    def _ail(self) -> None:
        if self.trouble is not None:
            raise OSError(self.trouble, os.strerror(self.trouble))


class TestTrouble:
    """What the kernel says of a socket is the program's end only where that is all that it can mean."""

    def test_a_reset_of_tcp_is_no_end(self, crank: Crank) -> None:
        side, program = beside(crank, tcp_pair)
        program.send(b"the first half")
        crank.rest()
        reset(program)
        settle(crank, side)
        assert [each.errno for each in side.trouble] == [errno.ECONNRESET]
        assert side.fills == 1

    def test_nor_when_a_write_finds_it(self, crank: Crank) -> None:
        side, program = beside(crank, tcp_pair)
        side.splice._wire.listen(False)
        reset(program)
        for _ in range(1000):
            if not side.trouble:
                side.deliver(b"to nobody")
                time.sleep(0.001)
        assert [each.errno for each in side.trouble] == [errno.ECONNRESET]
        assert side.pool.lent == 0

    def test_a_reset_behind_an_end_is_one_of_the_other_direction(self, crank: Crank) -> None:
        side, program = beside(crank, tcp_pair)
        program.send(b"all")
        program.shutdown(socket.SHUT_WR)
        crank.rest()
        reset(program)
        for _ in range(50):
            side.deliver(b"to nobody")
            crank.rest()
        assert side.splice.write_error is not None
        assert (side.trouble, side.outbound.final) == ([], 3)
        assert side.inbound.written == side.inbound.received

    @pytest.mark.parametrize("trouble", [errno.ENOBUFS, errno.ENOMEM, errno.EINVAL, errno.ETIMEDOUT, errno.EIO])
    @pytest.mark.parametrize("waits", [False, True])
    def test_other_trouble_of_a_write_is_told(self, crank: Crank, monkeypatch: pytest.MonkeyPatch, trouble: int, waits: bool) -> None:
        monkeypatch.setattr(splice, "Wire", Sick)
        side, _ = beside(crank, socket.socketpair)
        side.inbound.window = 1 << 24
        while waits and not side.inbound.backlog:
            side.deliver(bytes(100_000))
        side.splice._wire.trouble = trouble  # type: ignore[attr-defined]
        side.splice.wire_writable() if waits else side.deliver(b"hello")
        assert [each.errno for each in side.trouble] == [trouble]
        assert side.pool.lent == 0

    def test_other_trouble_of_a_read_is_told(self, crank: Crank, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(splice, "Wire", Sick)
        side, program = beside(crank, socket.socketpair)
        side.splice._wire.trouble = errno.ENOMEM  # type: ignore[attr-defined]
        program.send(b"hello")
        crank.rest()
        assert [each.errno for each in side.trouble] == [errno.ENOMEM]
        assert side.fills == 0

    @pytest.mark.parametrize("trouble", [errno.EPIPE, errno.ECONNRESET])
    def test_a_program_that_has_closed_is_no_trouble(self, crank: Crank, monkeypatch: pytest.MonkeyPatch, trouble: int) -> None:
        monkeypatch.setattr(splice, "Wire", Sick)
        side, _ = beside(crank, socket.socketpair)
        side.splice._wire.trouble = trouble  # type: ignore[attr-defined]
        side.deliver(b"hello")
        assert side.trouble == []
        assert side.inbound.written == 5


def settle(crank: Crank, side: Side) -> None:
    """What TCP says may be on another processor still."""
    for _ in range(1000):
        crank.rest()
        if side.trouble:
            return
        time.sleep(0.001)


class TestClosing:
    def test_a_program_is_not_told_an_end_that_was_not_said(self, crank: Crank) -> None:
        side, program = beside(crank, tcp_pair)
        side.deliver(b"the first half")
        assert take(crank, program) == b"the first half"
        side.splice.close()
        with pytest.raises(ConnectionResetError):
            take(crank, program)

    def test_after_its_end_it_is_closed_as_usual(self, crank: Crank) -> None:
        side, program = beside(crank, tcp_pair)
        side.deliver(b"all")
        side.end()
        side.splice.close()
        assert take(crank, program) == b"all"
        assert take(crank, program) == b""
