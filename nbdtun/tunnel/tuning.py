"""
Tuning: what the kernel is asked for, of the sockets that carry bytes.
"""

from __future__ import annotations

import contextlib
import socket
from ipaddress import ip_address

from nbdtun.tunnel.slab import SLAB_SIZE

#: The congestion control that every kernel has, that everybody may use, and that does not pace (Linux's net/ipv4/tcp_cong.c).
UNPACED = b"reno"


def make_roomy(sock: socket.socket) -> socket.socket:
    """Give a local program's UNIX socket room, so that it is woken less often, for more; the kernel doubles it, to a limit of its own."""
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SLAB_SIZE)
    return sock


def make_prompt(sock: socket.socket) -> None:
    """Let nothing wait that is written to a TCP connection; others do not let it."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # NBD sends its header and its payload apart; without this each request waits for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if _at_home(sock):
            _stop_pacing(sock)


def _at_home(sock: socket.socket) -> bool:
    """Whether both ends are of this host: another program here takes the bytes further, or both QEMUs run here."""
    try:
        here, there = sock.getsockname()[0], sock.getpeername()[0]
    except OSError:
        return False  # it has broken already, as its user will find
    return here == there or ip_address(there).is_loopback


def _stop_pacing(sock: socket.socket) -> None:
    """
    Where BBR is the host's choice for all its connections, it waits between packets, with a timer for each few of them; within a host
    there is nothing to congest, and the timers cost a tenth of the speed. What BBR has begun stays paced, but less, unless there are a
    dozen channels and more (docs/performance).
    """
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)
