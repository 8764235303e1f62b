"""What the kernel is asked for: room for local programs, and nothing that waits on TCP."""

from __future__ import annotations

import socket
from pathlib import Path

from nbdtun.tunnel.slab import SLAB_SIZE
from nbdtun.tunnel.tuning import make_prompt, make_roomy
from tests.tunnel.cable import tcp_pair

LIMIT = int(Path("/proc/sys/net/core/wmem_max").read_text())


def test_a_local_programs_socket_has_room_for_a_slab() -> None:
    ours, _theirs = socket.socketpair()
    assert make_roomy(ours) is ours
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 2 * min(SLAB_SIZE, LIMIT)


def test_tcp_knows_better_than_we_how_much_room_it_needs() -> None:
    ours, _theirs = tcp_pair()
    before = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    make_roomy(ours)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == before


def test_small_pieces_do_not_wait_for_each_other() -> None:
    ours, _theirs = tcp_pair()
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
    assert make_prompt(ours) is ours
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_unix_socket_is_prompt() -> None:
    ours, theirs = socket.socketpair()
    make_prompt(ours)
    ours.send(b"at once")
    assert theirs.recv(100) == b"at once"


def test_a_connection_that_has_broken_already_is_for_its_user_to_find() -> None:
    with socket.socket() as never:
        make_prompt(never)
        assert never.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
