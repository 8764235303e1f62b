"""
Kernel TLS: the kernel encrypts what is written to a socket, where Python, OpenSSL and the kernel can.

The contexts ask for it (``ssl.OP_ENABLE_KTLS``, Python 3.12); whether a connection has it is OpenSSL's decision, made after the handshake,
and the socket's "upper layer protocol" tells (Linux, Documentation/networking/tls.rst).
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

#: The socket option, which Python does not name (linux/tcp.h).
TCP_ULP = 31

_AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_ulp")


def obstacle() -> str | None:
    """Why no connection of this process can have it; None where it can."""
    if not hasattr(ssl, "OP_ENABLE_KTLS"):
        return "this Python's ssl cannot ask for it (3.12 can)"
    try:
        there = _AVAILABLE.read_text().split()
    except OSError:
        there = []
    return None if "tls" in there else "the kernel has it not, or not loaded (modprobe tls)"


def active(sock: socket.socket) -> bool:
    """Whether the kernel does the encryption of ``sock``, a TCP socket after its handshake."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, TCP_ULP, 16).startswith(b"tls\0")
    except OSError:
        return False


def explain() -> str:
    """One line for the log."""
    why = obstacle()
    return f"kernel TLS is not used: {why}" if why else "kernel TLS is asked for"
