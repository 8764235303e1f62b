"""Batched wires, over real sockets, among themselves and with an ordinary peer: little room, forgeries, alerts, key changes, the end."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from nbdtun.errors import LinkLost
from nbdtun.tls import contexts
from nbdtun.tls.handshake import Handshake
from nbdtun.tls.records.messages import ALERT, DATA, HANDSHAKE, fatal
from nbdtun.tls.records.protection import MAX_BATCH, MAX_DATA
from nbdtun.tunnel.protocol.records import BUFFER
from nbdtun.tunnel.settings import Records
from nbdtun.tunnel.wires.batched import BatchedWire
from nbdtun.tunnel.wires.secure import Moved, Security
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.ends import Ends, Line, Pair
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.pool import CountingPool
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.user import User


@pytest.fixture
def ends(crank: Crank, tls_dir: Path) -> Ends:
    return Ends(crank, tls_dir)


@pytest.mark.parametrize("far", Records)
@pytest.mark.parametrize(("pair", "room"), [(socket.socketpair, None), (socket.socketpair, 5000), (tcp_pair, None)])
def test_much_both_ways_with_little_room(crank: Crank, tls_dir: Path, pair: Pair, room: int | None, far: Records) -> None:
    """Python's own ssl, at the other end, sees no difference."""
    ends = Ends(crank, tls_dir, pair, room, far)
    assert ends.client.writable == ends.server.writable == 1
    there, back = noise(3_500_000, 3), noise(3_500_000, 4)
    ends.client.to_send, ends.server.to_send = there, back
    ends.server.send()
    ends.send(b"")
    assert ends.server.got == there
    assert ends.client.got == back
    assert any(count == 0 for _, count in ends.client.tries) or pair is tcp_pair, "there was always room"
    assert ends.pool.lent == 0, "an idle wire holds no buffer"
    ends.close()


def test_both_know_who_the_other_is(ends: Ends) -> None:
    assert ends.client.wire.presented
    assert ends.server.wire.presented
    assert ends.client.wire.presented != ends.server.wire.presented
    assert not ends.client.wire.plain
    ends.close()


def test_nothing_can_be_read_on_the_line(crank: Crank, tls_dir: Path) -> None:
    ends = Ends(crank, tls_dir, socket.socketpair)
    ends.server.wire.listen(False)
    ends.send(b"a secret " * 100)
    line = ends.server.wire._socket.recv(10_000, socket.MSG_PEEK)
    assert line[:3] == b"\x17\3\3"
    assert b"secret" not in line
    ends.close()


def test_a_batch_leaves_in_one_piece(ends: Ends) -> None:
    ends.send(b"x" * 2 * MAX_BATCH)
    assert [count for _, count in ends.client.tries if count] == [MAX_BATCH, MAX_BATCH]
    assert len(ends.server.got) == 2 * MAX_BATCH
    ends.close()


def test_a_write_that_is_repeated_with_more_takes_only_what_was_sealed(crank: Crank, tls_dir: Path) -> None:
    ends = Ends(crank, tls_dir, socket.socketpair, room=5000)
    ends.server.wire.listen(False)
    while ends.wire.write(memoryview(b"x" * 3000)):
        pass
    ends.server.wire.listen(True)
    crank.rest()
    assert ends.wire.write(memoryview(b"x" * 3000 + b"more")) == 3000
    crank.rest()
    assert set(ends.server.got) == {ord("x")}
    ends.close()


@pytest.mark.parametrize("carried", [20_000, 50_000, 110_000, 250_000, 900_000])
def test_of_what_a_cut_line_has_carried_all_but_a_record_arrives(crank: Crank, tls_dir: Path, carried: int) -> None:
    """Each time, however often it is cut."""
    line = Line()
    ends = Ends(crank, tls_dir, line.pair)
    while not ends.client.writable or not ends.server.writable:
        line.both_ways()
        crank.rest()
    ends.client.to_send = bytes(1_000_000)
    ends.client.send()
    left = carried
    while left:
        crank.rest()
        left -= line.carry(min(left, 10_000))
    crank.rest()
    assert carried <= len(ends.server.got) * 1.002 + MAX_DATA + 100
    line.cut()
    ends.close()


def test_several_batches_in_one_piece(ends: Ends) -> None:
    """They do not fit into one buffer: what no descriptor shows is read all the same."""
    ends.server.wire.listen(False)
    for size in (100, 70_000, 150_000, 5, 200_000):
        ends.send(bytes([size % 256]) * size)
    ends.server._buffer = memoryview(bytearray(20_000))
    ends.server.wire.listen(True)
    ends.crank.rest()
    assert len(ends.server.got) == 420_105
    ends.close()


class TestAttacks:
    @pytest.mark.parametrize("forged", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x17\3\3\0\x20" + bytes(32), b"\xff" * 10])
    def test_a_forgery_breaks_the_connection_and_the_other_end_is_told(self, ends: Ends, forged: bytes) -> None:
        ends.send(b"true")
        ends.raw.send(forged)
        ends.crank.rest()
        assert ends.server.got == b"true"
        assert isinstance(ends.server.lost, ConnectionAbortedError)
        assert isinstance(ends.client.lost, ssl.SSLError)
        assert "_ALERT_" in str(ends.client.lost.reason)
        ends.close()

    @pytest.mark.parametrize("payload", [bytes([1, 0, 0, 0]), bytes([24, 0, 0, 1, 7])])
    def test_a_message_that_was_not_agreed_on(self, ends: Ends, payload: bytes) -> None:
        ends.inject(HANDSHAKE, payload)
        assert isinstance(ends.server.lost, ConnectionAbortedError)
        ends.close()

    def test_empty_records_without_end(self, ends: Ends) -> None:
        for _ in range(40):
            if ends.server.lost is None:
                ends.inject(DATA, b"")
        assert "in a row without data" in str(ends.server.lost)
        ends.close()


def test_an_alert_is_an_error_with_its_name(ends: Ends) -> None:
    ends.send(b"last words")
    ends.inject(ALERT, fatal("BAD_CERTIFICATE"))
    assert ends.server.got == b"last words"
    assert isinstance(ends.server.lost, ssl.SSLError)
    assert ends.server.lost.reason == "TLS_ALERT_BAD_CERTIFICATE"
    ends.close()


@pytest.mark.parametrize("far", Records)
def test_a_key_change_that_is_asked_for_comes_before_the_next_data(crank: Crank, tls_dir: Path, far: Records) -> None:
    """OpenSSL answers it, too; and reads on under the new keys."""
    ends = Ends(crank, tls_dir, far=far)
    ends.inject(HANDSHAKE, bytes([24, 0, 0, 1, 1]))
    ends.wire._sealer._change()
    ends.send(b"under new keys")
    ends.server.to_send = b"mine, too"
    ends.server.send()
    crank.rest()
    assert ends.server.got == b"under new keys"
    assert ends.client.got == b"mine, too"
    assert ends.wire._opener._changes == 1
    ends.close()


@pytest.mark.parametrize("far", Records)
def test_close_notify_is_an_end(crank: Crank, tls_dir: Path, far: Records) -> None:
    ends = Ends(crank, tls_dir, far=far)
    ends.send(b"whole")
    ends.client.wire.write_end()
    crank.rest()
    assert ends.server.got == b"whole"
    assert ends.server.ended
    assert ends.server.lost is None
    ends.close()


@pytest.mark.parametrize("part", [1, 4, 10, 10_000])
def test_an_end_in_the_middle_of_a_record_is_an_end(ends: Ends, part: int) -> None:
    record = memoryview(bytearray(BUFFER))
    ends.send(b"whole")
    ends.wire._sealer.seal_data(memoryview(bytes(100_000)), record)
    ends.raw.send(record[:part])
    ends.raw.shutdown(socket.SHUT_WR)
    ends.crank.rest()
    assert ends.server.got == b"whole"
    assert ends.server.ended
    ends.close()


def test_a_broken_connection_is_told_and_gives_its_buffers_back(ends: Ends) -> None:
    ends.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    ends.wire._tell = lambda alert: None  # type: ignore[method-assign]
    ends.client.wire.close()
    ends.raw.close()
    ends.crank.rest()
    assert isinstance(ends.server.lost, ConnectionResetError)
    assert ends.pool.lent == 0


def test_it_can_be_closed_with_a_batch_half_on_its_way(crank: Crank, tls_dir: Path) -> None:
    ends = Ends(crank, tls_dir, room=5000)
    ends.server.wire.listen(False)
    ends.client.to_send = bytes(5_000_000)
    ends.client.send()
    crank.rest()
    assert ends.pool.lent == 1
    ends.client.wire.close_gently(1)
    assert ends.pool.lent == 0
    crank.pass_time(2)
    ends.close()


class TestHandshake:
    def test_a_wrong_name_is_refused_and_the_other_end_is_told(self, crank: Crank, tls_dir: Path) -> None:
        ends = Ends(crank, tls_dir, name="elsewhere.example")
        assert isinstance(ends.client.lost, ssl.SSLCertVerificationError)
        assert "ALERT_BAD_CERTIFICATE" in str(ends.server.lost)
        ends.close()

    def test_it_can_be_closed_in_the_middle(self, crank: Crank, tls_dir: Path) -> None:
        user, pool = User(), CountingPool(size=BUFFER)
        ours, theirs = socket.socketpair()
        user.wire = Security(contexts.client_context(tls_dir), Records.BATCHED, "localhost").wire(crank, ours, user, pool)
        user.wire.want_room()
        crank.rest()
        assert theirs.recv(3) == b"\x16\3\1"
        assert isinstance(user.wire, BatchedWire)
        assert user.wire.tls is not None
        user.wire.close()
        assert pool.lent == 0

    def test_a_peer_that_does_not_speak_tls(self, crank: Crank, tls_dir: Path) -> None:
        user = User()
        ours, theirs = socket.socketpair()
        user.wire = BatchedWire(crank, ours, user, Handshake(contexts.server_context(tls_dir), None), CountingPool(size=BUFFER))
        user.wire.listen(True)
        theirs.sendall(b"GET / HTTP/1.1\r\n\r\n")
        crank.rest()
        assert isinstance(user.lost, ssl.SSLError)
        theirs.close()


@pytest.mark.parametrize("left", [0, 1, 3, 30, 200])
def test_another_process_goes_on_with_it(crank: Crank, tls_dir: Path, left: int) -> None:
    """Whatever has been read of the next records, and the other end notices nothing."""
    ends = Ends(crank, tls_dir)
    ends.send(b"before")
    ends.server.wire.listen(False)
    ends.client.to_send = b"after" * 40
    ends.client.send()
    crank.rest()
    wire = ends.server.wire
    assert isinstance(wire, BatchedWire)
    if left:
        space = wire._reader.space()
        wire._reader.filled(wire._receive(space[:left]))
    presented = wire.presented
    sock, state = wire.move()
    assert wire.closed
    assert state is not None
    ends.server.wire = Moved(state).wire(crank, sock, ends.server, ends.pool)
    assert ends.server.wire.presented == presented
    ends.server.wire.listen(True)
    crank.rest()
    assert ends.server.got == b"before" + b"after" * 40
    ends.server.to_send = b"and back"
    ends.server.send()
    crank.rest()
    assert ends.client.got == b"and back"
    ends.close()


def test_one_that_has_more_to_send_or_to_read_stays(crank: Crank, tls_dir: Path) -> None:
    ends = Ends(crank, tls_dir, socket.socketpair, 5000)
    ends.client.wire.listen(False)
    ends.server.to_send = noise(200_000, 5)
    ends.server.send()
    with pytest.raises(LinkLost, match="it broke off before"):
        ends.server.wire.move()
    assert not ends.server.wire.closed
    ends.close()


def test_a_peer_that_sends_much_before_it_is_answered_is_not_moved(crank: Crank, tls_dir: Path) -> None:
    ends = Ends(crank, tls_dir)
    ends.server.wire.listen(False)
    ends.client.to_send = bytes(3 * MAX_DATA)
    ends.client.send()
    crank.rest()
    wire = ends.server.wire
    assert isinstance(wire, BatchedWire)
    wire._reader.filled(wire._receive(wire._reader.space()))
    with pytest.raises(LinkLost, match=r"it sent \d+ bytes before the answer"):
        wire.move()
    ends.close()


def test_the_state_is_not_for_two(ends: Ends) -> None:
    sock, _ = ends.server.wire.move()
    with sock, pytest.raises((AttributeError, OSError)):
        ends.server.wire.write(memoryview(b"again"))
    ends.client.wire.close()
    ends.raw.close()
