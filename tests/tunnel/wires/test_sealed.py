"""Sealed wires, over real sockets: little room, records that are long under way, forgeries, and the end."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from nbdtun.tunnel.protocol.seal import BUFFER, MAX_RECORD, contribute, destination_seals, source_seals
from nbdtun.tunnel.wires.plain import Wire
from nbdtun.tunnel.wires.sealed import BULK, FIRST_RECORD, SealedWire
from tests.tunnel.stage.cable import tcp_pair
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.pool import CountingPool
from tests.tunnel.stage.user import User

Pair = Callable[[], tuple[socket.socket, socket.socket]]


class Ends:
    """Both ends of a link, whose wires are sealed; ``raw`` is the source's socket itself."""

    def __init__(self, crank: Crank, pair: Pair = tcp_pair, room: int | None = None) -> None:
        self.crank = crank
        self.pool = CountingPool(size=BUFFER)
        near, far = contribute(), contribute()
        self.source, self.destination = User(), User()
        seals = source_seals(near, far), destination_seals(far, near)
        socks = pair()
        self.raw = socks[0].dup()
        for user, sock, sealed in zip((self.source, self.destination), socks, seals, strict=True):
            if room is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
            user.wire = SealedWire(Wire(crank, sock, user), sealed, self.pool)
            user.wire.listen(True)

    def send(self, data: bytes) -> None:
        self.source.to_send += data
        self.source.send()
        self.crank.rest()

    def close(self) -> None:
        for user in (self.source, self.destination):
            user.wire.close()
        self.raw.close()
        assert self.pool.lent == 0
        assert not self.crank.getReaders()
        assert not self.crank.getWriters()


@pytest.fixture
def ends(crank: Crank) -> Ends:
    return Ends(crank)


@pytest.mark.parametrize(("pair", "room"), [(socket.socketpair, None), (socket.socketpair, 5000), (tcp_pair, None)])
def test_much_both_ways_with_little_room(crank: Crank, pair: Pair, room: int | None) -> None:
    ends = Ends(crank, pair, room)
    there, back = noise(3_500_000, 3), noise(3_500_000, 4)
    ends.source.to_send, ends.destination.to_send = there, back
    ends.destination.send()
    ends.send(b"")
    assert ends.destination.got == there
    assert ends.source.got == back
    assert any(count == 0 for _, count in ends.source.tries) or pair is tcp_pair, "there was always room"
    assert ends.pool.lent == 0, "an idle wire holds no buffer"
    ends.close()


def test_nothing_can_be_read_on_the_line(crank: Crank) -> None:
    ours, theirs = socket.socketpair()
    user = User()
    user.wire = SealedWire(Wire(crank, ours, user), source_seals(contribute(), contribute()), CountingPool(size=BUFFER))
    user.to_send = b"a secret " * 100
    user.send()
    assert user.wire.write_all([memoryview(b"a secret")]) == 8
    assert b"secret" not in theirs.recv(10_000)
    user.wire.close()
    theirs.close()


def test_records_grow_with_what_was_sent(ends: Ends) -> None:
    ends.send(b"ping")
    ends.send(b"x" * 3 * MAX_RECORD)
    counts = [count for _, count in ends.source.tries if count]
    assert counts[:4] == [4, FIRST_RECORD + 4, 2 * FIRST_RECORD + 8, 4 * FIRST_RECORD + 16]
    assert max(counts) == counts[-2] == MAX_RECORD
    assert len(ends.destination.got) == 4 + 3 * MAX_RECORD
    ends.close()


@pytest.mark.parametrize("carried", [20_000, 50_000, 110_000, 250_000, 900_000])
def test_of_what_a_cut_line_has_carried_nearly_half_arrives(crank: Crank, carried: int) -> None:
    """Each time, however often it is cut."""
    pool, secret = CountingPool(size=BUFFER), contribute()
    (ours, line), (rest, theirs) = socket.socketpair(), socket.socketpair()
    source, destination = User(), User()
    source.wire = SealedWire(Wire(crank, ours, source), source_seals(secret, secret), pool)
    destination.wire = SealedWire(Wire(crank, theirs, destination), destination_seals(secret, secret), pool)
    destination.wire.listen(True)
    source.to_send = bytes(1_000_000)
    source.send()
    left = carried
    while left:
        piece = line.recv(min(left, 10_000))
        rest.sendall(piece)
        left -= len(piece)
        crank.rest()
    assert carried <= 2 * len(destination.got) + FIRST_RECORD + 1000
    for end in (source.wire, destination.wire, line, rest):
        end.close()


def test_a_record_in_one_piece(ends: Ends) -> None:
    ends.send(b"x" * MAX_RECORD)
    ends.source.tries.clear()
    ends.send(b"x" * MAX_RECORD)
    assert [size for size, count in ends.source.tries if count] == [MAX_RECORD]
    assert len(ends.destination.got) == 2 * MAX_RECORD
    ends.close()


def lowat(user: User) -> int:
    return user.wire._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


def test_of_a_large_record_the_kernel_tells_when_it_is_whole(crank: Crank) -> None:
    ends = Ends(crank)
    record = memoryview(bytearray(BUFFER))
    size = ends.source.wire._seal(memoryview(bytes(200_000)), record)  # type: ignore[attr-defined]
    ends.raw.send(record[:1000])
    crank.rest()
    assert ends.destination.wire.partial == 1000
    assert lowat(ends.destination) == size - 1000
    ends.raw.send(record[1000:2000])
    assert not crank.turn()
    ends.raw.send(record[2000:size])
    crank.rest()
    assert len(ends.destination.got) == 200_000
    assert lowat(ends.destination) == 1
    ends.close()


def test_of_a_small_one_at_once(ends: Ends) -> None:
    record = memoryview(bytearray(BUFFER))
    ends.source.wire._seal(memoryview(bytes(BULK - 100)), record)  # type: ignore[attr-defined]
    ends.raw.send(record[:1000])
    ends.crank.rest()
    assert lowat(ends.destination) == 1
    ends.close()


def test_several_records_in_one_piece(ends: Ends) -> None:
    """They do not fit into one buffer: what no descriptor shows is read all the same."""
    ends.destination.wire.listen(False)
    for size in (100, 70_000, 150_000, 5, 200_000):
        ends.send(bytes([size % 256]) * size)
    ends.destination._buffer = memoryview(bytearray(MAX_RECORD))
    ends.destination.wire.listen(True)
    ends.crank.rest()
    assert len(ends.destination.got) == 420_105
    ends.close()


@pytest.mark.parametrize("forged", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\0\0\0\1" + bytes(17), b"\xff" * 10])
def test_a_forgery_breaks_the_connection(ends: Ends, forged: bytes) -> None:
    ends.send(b"true")
    ends.raw.send(forged)
    ends.crank.rest()
    assert ends.destination.got == b"true"
    assert isinstance(ends.destination.lost, ConnectionAbortedError)
    ends.close()


@pytest.mark.parametrize("part", [1, 4, 10, 50_000])
def test_an_end_in_the_middle_of_a_record_is_an_end(ends: Ends, part: int) -> None:
    record = memoryview(bytearray(BUFFER))
    ends.send(b"whole")
    ends.source.wire._seal(memoryview(bytes(100_000)), record)  # type: ignore[attr-defined]
    ends.raw.send(record[:part])
    ends.raw.shutdown(socket.SHUT_WR)
    ends.crank.rest()
    assert ends.destination.got == b"whole"
    assert ends.destination.ended
    ends.close()


def test_a_broken_connection_is_told_and_gives_its_buffers_back(ends: Ends) -> None:
    ends.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.source.wire.close()
    ends.raw.close()
    ends.crank.rest()
    assert isinstance(ends.destination.lost, ConnectionResetError)
    assert ends.pool.lent == 0


def test_it_can_be_closed_with_a_record_half_on_its_way(crank: Crank) -> None:
    ends = Ends(crank, room=5000)
    ends.destination.wire.listen(False)
    ends.source.to_send = bytes(5_000_000)
    ends.source.send()
    crank.rest()
    assert ends.pool.lent == 1
    ends.source.wire.close_gently(1)
    assert ends.pool.lent == 0
    crank.pass_time(2)
    ends.close()
