"""What the kernel is asked for: room for local programs, nothing that waits on TCP, and no pacing within a host."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nbdtun.tunnel.slab import SLAB_SIZE
from nbdtun.tunnel.tuning import UNPACED, make_prompt, make_roomy
from tests.tunnel.cable import tcp_pair

AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_bytes().split()
LIMIT = int(Path("/proc/sys/net/core/wmem_max").read_text())


class Seen(socket.socket):
    """A connected socket that gives these addresses as its own and as the other end's."""

    here, there = "192.0.2.1", "192.0.2.2"

    def getsockname(self) -> tuple[str, int]:
        return self.here, 1

    def getpeername(self) -> tuple[str, int]:
        return self.there, 2


@pytest.fixture
def chosen() -> bytes:
    """What an operator may have chosen for all connections."""
    others = [name for name in AVAILABLE if name != UNPACED]
    return others[-1] if others else pytest.skip("this kernel has only one congestion control")


@pytest.fixture
def seen(chosen: bytes) -> Seen:
    ours, theirs = tcp_pair()
    theirs.close()
    ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, chosen)
    return Seen(fileno=ours.detach())


def congestion(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


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
    make_prompt(ours)
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_unix_socket_is_prompt() -> None:
    ours, theirs = socket.socketpair()
    make_prompt(ours)
    ours.send(b"at once")
    assert theirs.recv(100) == b"at once"


@pytest.mark.parametrize(
    ("here", "there"), [("127.0.0.1", "127.0.0.2"), ("::1", "::1"), ("192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::1%eth0")]
)
def test_within_a_host_nothing_is_paced(seen: Seen, here: str, there: str) -> None:
    seen.here, seen.there = here, there
    make_prompt(seen)
    assert congestion(seen) == UNPACED


def test_between_hosts_it_is_the_operator_who_chooses(seen: Seen, chosen: bytes) -> None:
    make_prompt(seen)
    assert congestion(seen) == chosen


def test_a_kernel_that_refuses_is_let_have_its_way(seen: Seen, chosen: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.tunnel.tuning.UNPACED", b"forbidden")
    seen.there = seen.here
    make_prompt(seen)
    assert congestion(seen) == chosen


def test_a_connection_that_has_broken_already_is_for_its_user_to_find() -> None:
    with socket.socket() as never:
        make_prompt(never)
        assert never.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
