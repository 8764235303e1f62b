"""Wires over real sockets: plain and TLS, full and torn, and what Twisted's reactor does around them."""

from __future__ import annotations

import random
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from nbdtun.tunnel import tls
from nbdtun.tunnel.tls_wire import TLSWire
from nbdtun.tunnel.wire import Wire
from tests.tunnel.cable import tcp_pair
from tests.tunnel.crank import Crank


class User:
    """Sends all it has, reads all there is, and notes what it was told."""

    def __init__(self, piece: int = 1 << 20) -> None:
        self.wire: Wire
        self.to_send = b""
        self.got = bytearray()
        self.ended = False
        self.lost: Exception | None = None
        self.writable = 0
        self.tries: list[tuple[int, int]] = []
        self._buffer = memoryview(bytearray(piece))

    def wire_readable(self) -> None:
        count = self.wire.read_into(self._buffer)
        if count == 0:
            self.ended = True
            self.wire.listen(False)
        elif count:
            self.got += self._buffer[:count]

    def wire_writable(self) -> None:
        self.writable += 1
        self.send()

    def send(self) -> None:
        while self.to_send and not self.wire.closed:
            count = self.wire.write(memoryview(self.to_send)[: 1 << 20])
            self.tries.append((len(self.to_send), count))
            self.to_send = self.to_send[count:]
            if not count:
                self.wire.want_room()
                return

    def wire_lost(self, reason: Exception) -> None:
        assert not self.wire.closed
        self.lost = reason
        self.wire.close()


@pytest.fixture
def crank() -> Crank:
    return Crank()


def plain(crank: Crank, pair: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair) -> tuple[User, socket.socket]:
    ours, theirs = pair()
    user = User()
    user.wire = Wire(crank, ours, user)
    return user, theirs


def shaking(crank: Crank, directory: Path, piece: int = 1 << 20, room: int | None = None) -> tuple[User, User]:
    """Two wires that have not yet shaken hands."""
    users = User(piece), User(piece)
    client, server = socket.socketpair()
    if room is not None:
        for sock in (client, server):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    socks = (
        tls.wrap_client(tls.client_context(directory), client, "localhost"),
        tls.wrap_server(tls.server_context(directory), server),
    )
    for user, sock in zip(users, socks, strict=True):
        sock.setblocking(False)
        user.wire = TLSWire(crank, sock, user)
        user.wire.listen(True)
        user.wire.want_room()
    return users


class TestPlain:
    def test_it_tells_what_there_is_to_read(self, crank: Crank) -> None:
        user, peer = plain(crank)
        peer.sendall(b"hello")
        crank.rest()
        assert not user.got, "nobody has asked for it"
        user.wire.listen(True)
        crank.rest()
        assert bytes(user.got) == b"hello"
        user.wire.listen(False)
        peer.sendall(b"more")
        crank.rest()
        assert bytes(user.got) == b"hello"
        peer.close()
        user.wire.listen(True)
        crank.rest()
        assert bytes(user.got) == b"hellomore"
        assert user.ended

    def test_room_is_told_once(self, crank: Crank) -> None:
        user, _peer = plain(crank)
        user.wire.want_room()
        crank.rest()
        assert user.writable == 1

    def test_a_full_socket_takes_nothing_and_then_more(self, crank: Crank) -> None:
        user, peer = plain(crank)
        user.to_send = sent = random.Random(1).randbytes(2_000_000)
        user.send()
        assert user.to_send
        got = bytearray()
        while user.to_send:
            got += peer.recv(1 << 20)
            crank.rest()
        while len(got) < len(sent):
            got += peer.recv(1 << 20)
        assert got == sent

    @pytest.mark.parametrize("pair", [socket.socketpair, tcp_pair])
    def test_a_hang_up_while_nobody_reads_loses_nothing(
        self, crank: Crank, pair: Callable[[], tuple[socket.socket, socket.socket]]
    ) -> None:
        """The reactor takes the descriptor away when its peer is gone while only room to write is waited for; what came before is there."""
        user, peer = plain(crank, pair)

        class Patient(User):
            def wire_lost(self, reason: Exception) -> None:
                self.lost = reason
                self.wire.listen(True)

        patient = Patient()
        patient.wire, user.wire.user = user.wire, patient
        peer.sendall(b"the tail")
        while patient.wire.write(memoryview(bytes(1 << 16))):
            pass
        patient.wire.want_room()
        if pair is tcp_pair:  # unread bytes at a close make it a reset
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        peer.close()
        crank.rest()
        assert bytes(patient.got) == b"the tail"
        assert patient.lost is not None
        patient.wire.close()

    def test_a_half_close_leaves_reading(self, crank: Crank) -> None:
        user, peer = plain(crank)
        user.wire.listen(True)
        user.wire.write_end()
        assert peer.recv(1) == b""
        peer.sendall(b"answer")
        crank.rest()
        assert bytes(user.got) == b"answer"

    def test_a_closed_wire_is_quiet(self, crank: Crank) -> None:
        """The reactor tells of room to write after a read has closed the wire."""
        user, peer = plain(crank)

        class Closing(User):
            def wire_readable(self) -> None:
                self.wire.close()

        closing = Closing()
        closing.wire, user.wire.user = user.wire, closing
        closing.wire.listen(True)
        closing.wire.want_room()
        peer.sendall(b"x")
        crank.rest()
        assert closing.writable == 0
        closing.wire.close()
        closing.wire.listen(True)
        closing.wire.want_room()
        closing.wire.write_end()
        crank.rest()
        assert "closed" in repr(closing.wire)

    def test_small_pieces_do_not_wait_for_each_other(self, crank: Crank) -> None:
        ours, theirs = tcp_pair()
        ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        wire = Wire(crank, ours, User())
        assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        wire.close()
        theirs.close()

    def test_a_gentle_close_lets_the_last_words_arrive(self, crank: Crank) -> None:
        user, peer = plain(crank, tcp_pair)
        peer.setblocking(False)
        peer.sendall(b"unread")
        user.to_send = words = random.Random(2).randbytes(300_000)
        user.send()
        crank.rest()
        user.wire.close_gently(2.0)
        assert user.wire.closed
        got = bytearray()
        while True:
            crank.rest()
            try:
                piece = peer.recv(10_000)
            except BlockingIOError:
                continue
            if not piece:
                break
            got += piece
        assert got == words[: len(got)]
        assert len(got) == len(words) - len(user.to_send)
        peer.close()
        crank.rest()
        assert not crank.getReaders()
        assert not crank.getDelayedCalls()

    def test_a_gentle_close_does_not_last_for_ever(self, crank: Crank) -> None:
        user, peer = plain(crank)
        user.wire.close_gently(2.0)
        crank.advance(1.9)
        assert crank.getReaders()
        crank.advance(0.2)
        assert not crank.getReaders()
        peer.close()


class TestTLS:
    def test_hands_are_shaken_before_anybody_is_told(self, crank: Crank, tls_dir: Path) -> None:
        client, server = shaking(crank, tls_dir)
        crank.rest()
        assert client.writable == server.writable == 1
        assert client.wire.peer_certificate
        assert server.wire.peer_certificate
        assert client.wire.peer_certificate != server.wire.peer_certificate

    @pytest.mark.parametrize("room", [None, 5000])
    def test_much_both_ways_with_little_room(self, crank: Crank, tls_dir: Path, room: int | None) -> None:
        """A write for which there was no room is repeated with the same bytes, or OpenSSL refuses it."""
        client, server = shaking(crank, tls_dir, room=room)
        crank.rest()
        there, back = random.Random(3).randbytes(1_500_000), random.Random(4).randbytes(1_500_000)
        client.to_send, server.to_send = there, back
        client.send()
        server.send()
        crank.rest()
        assert server.got == there
        assert client.got == back
        assert any(count == 0 for _, count in client.tries), "there was always room"

    @pytest.mark.parametrize("piece", [1, 100, 4096, 16_384, 20_000])
    def test_what_openssl_holds_back_is_read_too(self, crank: Crank, tls_dir: Path, piece: int) -> None:
        """The rest of a record that was read in part is not in the socket any more: the reactor will say nothing."""
        client, server = shaking(crank, tls_dir, piece)
        crank.rest()
        client.to_send = sent = random.Random(5).randbytes(10_000)
        client.send()
        crank.rest()
        assert server.got == sent

    def test_what_is_held_back_waits_while_nobody_listens(self, crank: Crank, tls_dir: Path) -> None:
        client, server = shaking(crank, tls_dir, 100)
        crank.rest()
        client.to_send = bytes(300)
        client.send()
        crank.turn()
        server.wire.listen(False)
        crank.rest()
        assert len(server.got) == 100
        server.wire.close()
        crank.rest()
        assert not crank.getDelayedCalls()

    def test_data_and_the_end_together(self, crank: Crank, tls_dir: Path) -> None:
        client, server = shaking(crank, tls_dir)
        crank.rest()
        client.to_send = bytes(50_000)
        client.send()
        client.wire.close()  # no close_notify
        crank.rest()
        assert len(server.got) == 50_000
        assert server.ended or server.lost

    def test_an_end_without_farewell_is_an_end(self, crank: Crank, tls_dir: Path) -> None:
        client, server = shaking(crank, tls_dir)
        crank.rest()
        client.wire.close()
        crank.rest()
        assert server.ended

    @pytest.mark.parametrize(
        "greeting",
        [b"GET / HTTP/1.1\r\n\r\n", b"\0\x08_command\0\x0bOpenChannel", b"\x16\x03\x01\xff\xff" + b"x" * 100, b"\x15\x03\x03\0\2\2\x28"],
    )
    def test_garbage_instead_of_a_handshake(self, crank: Crank, tls_dir: Path, greeting: bytes) -> None:
        """It is there before the reactor looks for the first time, so that it can be read *and* written."""
        ours, theirs = socket.socketpair()
        theirs.sendall(greeting)
        user = User()
        user.wire = TLSWire(crank, tls.wrap_server(tls.server_context(tls_dir), ours), user)
        user.wire.listen(True)
        user.wire.want_room()
        crank.rest()
        assert isinstance(user.lost, ssl.SSLError)
        theirs.close()

    def test_a_write_to_who_has_gone_is_a_lost_connection(self, crank: Crank, tls_dir: Path) -> None:
        client, server = shaking(crank, tls_dir)
        crank.rest()
        server.wire.close()
        client.to_send = bytes(100)
        with pytest.raises(OSError):  # noqa: PT011  # which of them depends on the kernel
            client.send()
