"""
Tuning: options of the sockets that carry bytes.

TCP within a host has no congestion, and should not be paced. If BBR is the host's default, it waits between packets, with a timer for every
few of them, which costs a tenth of the speed (docs/performance). A connection that began with BBR stays paced whatever is set later (Linux
never resets ``sk_pacing_status``, include/net/sock.h), so the option is set before connecting. An accepted connection inherits it from its
listener.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import IReactorTCP
from twisted.python.components import proxyForInterface

from nbdtun.tunnel.protocol.slab import SLAB_SIZE

#: A congestion control that every kernel has, that any user may set, and that does not pace (Linux's net/ipv4/tcp_cong.c).
UNPACED = b"reno"

#: Bytes that wait for their turn in a far connection's buffer. The buffer is larger only for those that are on their way.
_UNSENT = 1024 * 1024

#: Where ``struct tcp_info`` has the window that the peer announces.
_SND_WND = slice(228, 232)

_SETTINGS = Path("/proc/sys/net")


@frozen
class _Buffer:
    """One of a connection's two buffers: its option, the one that no limit holds for (include/uapi/asm-generic/socket.h), its limits."""

    option: int
    forced: int
    most: str
    tuned: str

    def enlarge(self, sock: socket.socket, count: int) -> bool:
        """Whether it is now larger than the kernel would make it, for ``count`` bytes on their way; the kernel doubles what it is told."""
        if sock.getsockopt(socket.SOL_SOCKET, self.option) >= 2 * count:
            return False
        try:
            sock.setsockopt(socket.SOL_SOCKET, self.forced, count)
        except PermissionError:
            most = min(count, int((_SETTINGS / self.most).read_text()))
            if 2 * most <= int((_SETTINGS / self.tuned).read_text().split()[2]):
                return False
            sock.setsockopt(socket.SOL_SOCKET, self.option, most)
        return True


_SENDING = _Buffer(socket.SO_SNDBUF, 32, "core/wmem_max", "ipv4/tcp_wmem")
_RECEIVING = _Buffer(socket.SO_RCVBUF, 33, "core/rmem_max", "ipv4/tcp_rmem")


def make_roomy(sock: socket.socket) -> socket.socket:
    """Enlarge the buffer to a local program, so that it wakes up less often, for more data; the kernel doubles it, up to its own limit."""
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SLAB_SIZE)
    return sock


def make_prompt(sock: socket.socket) -> socket.socket:
    """Send at once all that is written to a TCP connection; other sockets always do."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # NBD sends header and payload separately; without this, each request waits for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def make_far(sock: socket.socket, sending: int, receiving: int) -> None:
    """
    Let a TCP connection have so many bytes on their way, in each direction.

    Linux gives it at most the third value of ``net.ipv4.tcp_wmem`` for sending, 4 MiB, of which less than 3 are payload: 24 MB/s with
    150 ms. For receiving that of ``net.ipv4.tcp_rmem`` counts, 6 MiB before Linux 6.18. More takes CAP_NET_ADMIN, or a larger
    ``net.core.wmem_max`` and ``rmem_max`` (tcp(7), socket(7)); without either, the connection stays as it is.

    The kernel raises the window's bound no more once the receive buffer was set (net/ipv4/tcp_input.c, ``tcp_rcv_space_adjust``).
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):  # the connection has broken, which its user will find
        if _RECEIVING.enlarge(sock, receiving):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, receiving)  # else it stays as the kernel left it
        if _SENDING.enlarge(sock, sending):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)


def most_on_their_way(sock: socket.socket) -> tuple[int, int] | None:
    """
    Return the bytes that a TCP connection's own send buffer, and its peer's receive buffer, let be on their way; None if unknown.

    The kernel counts its own memory in a send buffer, of which payload is about half. The peer's buffer is the window that it announces:
    ``tcpi_snd_wnd``, since Linux 5.4 (include/uapi/linux/tcp.h).
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    try:
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SND_WND.stop)
        own = sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    except OSError:
        return None
    return (own // 2, int.from_bytes(told[_SND_WND], sys.byteorder)) if len(told) >= _SND_WND.stop else None


class LoopbackReactor(proxyForInterface(IReactorTCP, "reactor")):  # type: ignore[misc]
    """``reactor``, for endpoints that connect to loopback or listen there."""

    def connectTCP(self, *arguments: Any, **named: Any) -> Any:
        """Connect; see Twisted's IReactorTCP. The connection is attempted in a later turn of the reactor."""
        connector = self.reactor.connectTCP(*arguments, **named)
        _stop_pacing(connector.transport)
        return connector

    def listenTCP(self, *arguments: Any, **named: Any) -> Any:
        """Listen; see Twisted's IReactorTCP."""
        port = self.reactor.listenTCP(*arguments, **named)
        _stop_pacing(port)
        return port


def _stop_pacing(owner: Any) -> None:
    sock = getattr(owner, "socket", None)  # there is none if the process has no descriptor left; the connector reports that
    if sock is not None:
        with contextlib.suppress(OSError):  # the kernel lacks it
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)
