"""What the kernel is asked for: room for local programs, and nothing that waits on TCP."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory

from nbdtun.tunnel.opening.detach import Catch, connect
from nbdtun.tunnel.protocol.slab import SLAB_SIZE
from nbdtun.tunnel.wires.tuning import UNPACED, LoopbackReactor, make_far, make_prompt, make_roomy, most_on_their_way
from tests.tunnel.stage.sockets import tcp_pair

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


FAR = """
import socket
from nbdtun.tunnel.wires.tuning import make_far
with socket.socket() as ours:
    make_far(ours, 32 << 20, 64 << 20)
    print(*(ours.getsockopt(socket.SOL_SOCKET, option) >> 21 for option in (socket.SO_SNDBUF, socket.SO_RCVBUF)))
    print(ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT))
"""
UNPRIVILEGED = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--reset-env"]


def far(*prefix: str) -> list[str]:
    """Both buffers of a connection to a far end, in MiB before the kernel doubles them, and how much of it may wait to be sent."""
    words = [*prefix, sys.executable, "-c", FAR]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes CAP_NET_ADMIN")
def test_a_far_connection_has_room_for_all_that_is_on_its_way() -> None:
    assert far() == ["32", "64", f"{1 << 20}"]


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to become somebody else")
def test_without_the_right_to_it_the_hosts_limits_hold() -> None:
    sending, receiving, _ = far(*UNPRIVILEGED)
    tuned = {name: int(Path(f"/proc/sys/net/ipv4/tcp_{name}").read_text().split()[2]) for name in ("wmem", "rmem")}
    limits = {name: int(Path(f"/proc/sys/net/core/{name}_max").read_text()) for name in ("wmem", "rmem")}
    for size, name in ((sending, "wmem"), (receiving, "rmem")):
        assert int(size) == (limits[name] >> 20 if 2 * limits[name] > tuned[name] else 0)


def test_a_buffer_is_never_made_smaller() -> None:
    ours, _theirs = tcp_pair()
    before = ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    make_far(ours, 0, before // 4)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes CAP_NET_ADMIN")
def test_the_window_may_be_as_large_as_the_buffer() -> None:
    """The kernel leaves its bound where it was, 80 KB for example: 1.6 MB/s over 50 ms, whatever the buffer."""
    ours, _theirs = tcp_pair()
    make_far(ours, 0, 64 << 20)
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP) == 64 << 20


def test_the_buffers_of_both_ends_are_known() -> None:
    ours, theirs = tcp_pair()
    most = most_on_their_way(ours)
    assert most is not None
    assert most[0] == ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 2
    assert 0 < most[1] <= theirs.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    ours.close()
    assert most_on_their_way(ours) is None


def test_a_unix_socket_is_never_far() -> None:
    ours, _theirs = socket.socketpair()
    assert most_on_their_way(ours) is None
    before = ours.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    make_far(ours, 64 << 20, 64 << 20)
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


AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_bytes().split()


class Host:
    """A reactor that gives its sockets a choice of the operator's, as the host's sysctl would, before anybody else can."""

    def __init__(self, reactor: Any, choice: bytes) -> None:
        self._reactor, self._choice = reactor, choice

    def connectTCP(self, *arguments: Any, **named: Any) -> Any:
        connector = self._reactor.connectTCP(*arguments, **named)
        choose(connector.transport.socket, self._choice)
        return connector

    def listenTCP(self, *arguments: Any, **named: Any) -> Any:
        port = self._reactor.listenTCP(*arguments, **named)
        choose(port.socket, self._choice)
        return port


def choose(sock: socket.socket, choice: bytes) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, choice)


def congestion(sock: socket.socket) -> bytes:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


@pytest.fixture
def choice() -> bytes:
    others = [name for name in AVAILABLE if name != UNPACED]
    return others[-1] if others else pytest.skip("this kernel has only one congestion control")


@pytest.fixture
def host(choice: bytes) -> Host:
    from twisted.internet import reactor

    return Host(reactor, choice)


async def both_ends(there: Any, here: Any) -> tuple[bytes, bytes]:
    """The congestion control of what dials on ``here``, and of what accepts on ``there``."""
    accepted: Deferred[socket.socket] = Deferred()
    factory = Factory.forProtocol(lambda: Catch(accepted.callback))
    factory.noisy = False
    port = await TCP4ServerEndpoint(there, 0, interface="127.0.0.1").listen(factory)
    with await connect(TCP4ClientEndpoint(here, "127.0.0.1", port.getHost().port)) as ours, await accepted as theirs:
        await port.stopListening()
        return congestion(ours), congestion(theirs)


@ensureDeferred
async def test_within_a_host_nothing_is_paced(host: Host) -> None:
    reactor = LoopbackReactor(host)
    assert await both_ends(reactor, reactor) == (UNPACED, UNPACED)


@ensureDeferred
async def test_between_hosts_it_is_the_operator_who_chooses(host: Host, choice: bytes) -> None:
    assert await both_ends(host, host) == (choice, choice)


@ensureDeferred
async def test_a_kernel_that_refuses_is_let_have_its_way(host: Host, choice: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.tunnel.wires.tuning.UNPACED", b"forbidden")
    reactor = LoopbackReactor(host)
    assert await both_ends(reactor, reactor) == (choice, choice)


@ensureDeferred
async def test_a_process_without_a_descriptor_left_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet import reactor, tcp

    def used_up(self: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(tcp.Client, "createInternetSocket", used_up)
    with pytest.raises(ConnectError, match="Too many open files"):
        await connect(TCP4ClientEndpoint(LoopbackReactor(reactor), "127.0.0.1", 1))
