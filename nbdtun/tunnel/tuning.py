"""
Tuning: what the kernel is asked for, of the sockets that carry bytes.
"""

from __future__ import annotations

import socket

from nbdtun.tunnel.slab import SLAB_SIZE


def make_roomy(sock: socket.socket) -> socket.socket:
    """Give a local program's UNIX socket room, so that it is woken less often, for more; the kernel doubles it, to a limit of its own."""
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SLAB_SIZE)
    return sock


def make_prompt(sock: socket.socket) -> socket.socket:
    """Let nothing wait that is written to a TCP connection; others do not let it."""
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # NBD sends its header and its payload apart; without this each request waits for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
