"""Wires over real sockets, full and torn, and what Twisted's reactor does around them."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from nbdtun.tunnel.wires.plain import Wire
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.sockets import tcp_pair
from tests.tunnel.stage.user import User


def plain(crank: Crank, pair: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair) -> tuple[User, socket.socket]:
    ours, theirs = pair()
    user = User()
    user.wire = Wire(crank, ours, user)
    return user, theirs


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
        user.to_send = sent = noise(2_000_000)
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

    def test_a_gentle_close_lets_the_last_words_arrive(self, crank: Crank) -> None:
        user, peer = plain(crank, tcp_pair)
        peer.setblocking(False)
        peer.sendall(b"unread")
        user.to_send = words = noise(300_000, 2)
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
