"""Wires under TLS, over real sockets: the handshake, little room, what OpenSSL holds back, and the end."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path
from typing import cast

import pytest

from nbdtun.tls import contexts
from nbdtun.tunnel.wires.tls import TLSWire
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.noise import noise
from tests.tunnel.stage.user import User


def shaking(crank: Crank, directory: Path, piece: int = 1 << 20, room: int | None = None) -> tuple[User, User]:
    """Two wires that have not yet shaken hands."""
    users = User(piece), User(piece)
    client, server = socket.socketpair()
    if room is not None:
        for sock in (client, server):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    socks = (
        contexts.wrap_client(contexts.client_context(directory), client, "localhost"),
        contexts.wrap_server(contexts.server_context(directory), server),
    )
    for user, sock in zip(users, socks, strict=True):
        sock.setblocking(False)
        user.wire = TLSWire(crank, sock, user)
        user.wire.listen(True)
        user.wire.want_room()
    return users


class TestTLS:
    def test_hands_are_shaken_before_anybody_is_told(self, crank: Crank, tls_dir: Path) -> None:
        client, server = shaking(crank, tls_dir)
        crank.rest()
        assert client.writable == server.writable == 1
        assert client.wire.presented
        assert server.wire.presented
        assert client.wire.presented != server.wire.presented

    @pytest.mark.parametrize("room", [None, 5000])
    def test_much_both_ways_with_little_room(self, crank: Crank, tls_dir: Path, room: int | None) -> None:
        """A write for which there was no room is repeated with the same bytes, or OpenSSL refuses it."""
        client, server = shaking(crank, tls_dir, room=room)
        crank.rest()
        there, back = noise(1_500_000, 3), noise(1_500_000, 4)
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
        client.to_send = sent = noise(10_000, 5)
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

    def test_an_end_whose_alert_nobody_takes_is_an_end(self, crank: Crank, tls_dir: Path) -> None:
        """As with OpenSSL 3.5, whose read fails with EPIPE, every time, once it has tried to tell the other end of its mistake."""
        _, server = shaking(crank, tls_dir)
        crank.rest()

        class Mistaken:
            def read(self, size: int, buffer: memoryview) -> int:
                raise BrokenPipeError(errno.EPIPE, "Broken pipe")

        wire = server.wire
        assert isinstance(wire, TLSWire)
        wire.tls = cast("ssl.SSLSocket", Mistaken())
        server.wire_readable()
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
        user.wire = TLSWire(crank, contexts.wrap_server(contexts.server_context(tls_dir), ours), user)
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
