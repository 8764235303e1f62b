"""Joining a local socket to a channel's two streams: half-closes, hang-ups, and a reader that is slow or gone."""

from __future__ import annotations

import errno
import os
import random
import select
import socket
import struct
import time
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from nbdtun.tunnel.channels import splice
from nbdtun.tunnel.channels.splice import Farewell, Splice
from nbdtun.tunnel.protocol.inbound import Inbound
from nbdtun.tunnel.protocol.outbound import Outbound
from nbdtun.tunnel.runtime.throttle import Throttle
from nbdtun.tunnel.wires.pipe import MOST, Pipe, PipePool
from nbdtun.tunnel.wires.plain import Wire
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.pool import CountingPool
from tests.tunnel.stage.sockets import open_sockets, pair, tcp_pair

WINDOW = 100_000
Pair = Callable[[], tuple[socket.socket, socket.socket]]


class Side:
    """A channel without links: it notes what its splice tells."""

    def __init__(self, crank: Crank, sock: socket.socket, pipes: PipePool | None = None, farewell: Farewell | None = None) -> None:
        self.pool = CountingPool()
        self.outbound = Outbound(WINDOW, self.pool)
        self.inbound = Inbound(WINDOW, self.pool)
        self.fills = self.writes = self.fulls = self.drains = 0
        self.trouble: list[OSError] = []
        self.splice = Splice(crank, sock, self, Throttle(crank), pipes or PipePool(), farewell=farewell)

    def filled(self) -> None:
        self.fills += 1

    def full(self) -> None:
        self.fulls += 1

    def drained(self) -> None:
        self.drains += 1

    def written(self) -> None:
        self.writes += 1

    def broken(self, reason: OSError) -> None:
        self.trouble.append(reason)
        self.splice.close()
        self.outbound.clear()
        self.inbound.backlog.clear()

    def deliver(self, data: bytes) -> None:
        self.inbound.accept(self.inbound.received, len(data))
        self.splice.write([memoryview(data)])

    def end(self) -> None:
        self.inbound.accept_end(self.inbound.received)
        self.splice.write_end()

    def sent(self) -> bytes:
        """All that has come from the local program; the other end has it now."""
        got = bytearray()
        while (frame := self.outbound.next_frame()) is not None:
            self.outbound.leaving = False
            got += frame[16:]
        self.outbound.acknowledge(self.outbound.sent)
        self.splice.make_room()
        return bytes(got)


@pytest.fixture(params=[socket.socketpair, tcp_pair], ids=["unix", "tcp"])
def joined(crank: Crank, request: pytest.FixtureRequest) -> tuple[Side, socket.socket]:
    return beside(crank, request.param)


def beside(crank: Crank, pair: Pair) -> tuple[Side, socket.socket]:
    ours, theirs = pair()
    theirs.setblocking(False)
    side = Side(crank, ours)
    side.splice.make_room()
    return side, theirs


def reset(program: socket.socket) -> None:
    """Close a TCP connection as a program does that is killed with data unread, or that wants it so."""
    program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    program.close()


Joined = tuple[Side, socket.socket]


def take(crank: Crank, program: socket.socket) -> bytes:
    """What is on its way to ``program``, which with TCP may be on another processor still."""
    for _ in range(1000):
        crank.rest()
        if select.select([program], [], [], 0.01)[0]:
            return program.recv(1 << 20)
    raise AssertionError("nothing came")


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


class TestPouring:
    """Straight from the link's descriptor to the program, through a pipe."""

    @pytest.fixture
    def pipes(self) -> PipePool:
        return PipePool()

    @pytest.fixture
    def side(self, crank: Crank, pipes: PipePool) -> Side:
        ours, self.program = socket.socketpair()
        self.program.setblocking(False)
        self.link, self.far = tcp_pair()
        self.link.setblocking(False)
        return Side(crank, ours, pipes)

    def pour(self, side: Side, data: bytes) -> bytes:
        """What comes over the link goes where it belongs."""
        left = len(data)
        self.far.sendall(data)
        while left and side.inbound.received == side.inbound.written:
            left -= side.splice.pour(self.link.fileno(), left) or 0
        return data[: len(data) - left]

    def fill(self, side: Side) -> bytes:
        """Pour until there is no room."""
        sent = b""
        while side.inbound.received == side.inbound.written:
            sent += self.pour(side, noise(100_000, len(sent)))
        return sent

    def read(self, crank: Crank, count: int) -> bytes:
        got = b""
        while len(got) < count:
            got += take(crank, self.program)
        crank.rest()
        return got

    def test_it_reaches_the_program(self, side: Side, crank: Crank) -> None:
        assert self.read(crank, len(self.pour(side, b"hello"))) == b"hello"
        assert side.inbound.written == 5
        assert side.splice.pour(self.link.fileno(), 100) is None
        self.far.close()
        assert side.splice.pour(self.link.fileno(), 100) == 0

    def test_what_there_is_no_room_for_stays_in_the_pipe(self, side: Side, crank: Crank, pipes: PipePool) -> None:
        sent = self.fill(side)
        assert "kept=1" in repr(pipes)
        assert not side.inbound.backlog
        assert self.read(crank, len(sent)) == sent
        assert "kept=0" in repr(pipes)
        assert side.drains == 1

    def test_what_comes_by_another_way_meanwhile_goes_behind_it(self, side: Side, crank: Crank) -> None:
        sent = self.fill(side) + b"the rest"
        side.inbound.window = len(sent)
        side.deliver(b"the rest")
        side.end()
        assert self.read(crank, len(sent)) == sent
        assert self.program.recv(1) == b""
        assert side.inbound.done
        assert side.pool.lent == 0

    def test_where_many_have_one_it_is_read_out(self, side: Side, crank: Crank, pipes: PipePool) -> None:
        others = [pipes.take() for _ in range(MOST)]
        assert all(pipe is not None and pipes.keep(pipe) for pipe in others)
        sent = self.fill(side)
        assert side.inbound.backlog
        assert self.read(crank, len(sent)) == sent

    def test_a_program_that_goes_meanwhile_holds_nobody_up(self, side: Side, crank: Crank, pipes: PipePool) -> None:
        self.fill(side)
        self.program.close()
        crank.rest()
        assert side.splice.write_error is not None
        assert side.inbound.received == side.inbound.written
        assert "kept=0" in repr(pipes)

    @pytest.mark.parametrize("waits", [False, True])
    def test_trouble_of_the_programs_socket_is_told(
        self, side: Side, pipes: PipePool, monkeypatch: pytest.MonkeyPatch, waits: bool
    ) -> None:
        if waits:
            self.fill(side)

        def broken(pipe: Pipe, target: int) -> int:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

        monkeypatch.setattr(Pipe, "empty", broken)
        side.splice.wire_writable() if waits else self.pour(side, b"hello")
        assert [each.errno for each in side.trouble] == [errno.ENOMEM]
        assert "kept=0" in repr(pipes)
        assert side.pool.lent == 0

    def test_closed_it_keeps_no_pipe(self, side: Side, pipes: PipePool) -> None:
        self.fill(side)
        side.splice.close()
        assert "kept=0" in repr(pipes)

    def test_a_broken_link_is_told(self, side: Side, pipes: PipePool) -> None:
        self.link.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            side.splice.pour(9999, 100)
        assert "spare=1" in repr(pipes)


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
