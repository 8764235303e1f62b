"""Straight from the link's descriptor to the program, through a pipe."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from nbdtun.tunnel.wires.pipe import MOST, Pipe, PipePool
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.side import Side, take
from tests.tunnel.stage.sockets import tcp_pair


class TestPouring:
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
