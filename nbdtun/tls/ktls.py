"""
Kernel TLS: the kernel encrypts a socket's output, where OpenSSL and the kernel support it.

The contexts request it. OpenSSL decides for each connection, in the handshake, and the socket's "upper layer protocol" shows the result
(Linux, Documentation/networking/tls.rst). OpenSSL 3.0 supports it for writing TLS 1.3, 3.2 for reading too.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Final

#: The socket option, which Python does not name (linux/tcp.h).
TCP_ULP = 31

#: The option that requests it: SSL_OP_ENABLE_KTLS (openssl/ssl.h). Python names it from 3.12 on, but passes it on before, too.
OPTION: Final = 0x8 if ssl.OPENSSL_VERSION_INFO >= (3,) else 0

_AVAILABLE = Path("/proc/sys/net/ipv4/tcp_available_ulp")


def obstacle() -> str | None:
    """Why no connection of this process can use kernel TLS; None if one can."""
    if not OPTION:
        return f"{ssl.OPENSSL_VERSION} does not support it (OpenSSL 3.0 does)"
    try:
        there = _AVAILABLE.read_text().split()
    except OSError:
        there = []
    return None if "tls" in there else "the kernel's tls module is missing or not loaded (modprobe tls)"


def active(sock: socket.socket) -> bool:
    """Whether the kernel encrypts for ``sock``, a TCP socket after its handshake."""
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, TCP_ULP, 16).startswith(b"tls\0")
    except OSError:
        return False


def explain() -> str:
    """One line for the log."""
    why = obstacle()
    return f"kernel TLS is off: {why}" if why else "kernel TLS is requested"
