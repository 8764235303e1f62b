"""
The user at the other end of a TCP connection within this host; the kernel's tables of sockets tell.

Without TLS, any user of this host can reach a port on loopback, or take one that a daemon has left. /proc/net/tcp and tcp6 (proc(5)) have
the sockets of this network namespace: addresses as the kernel has them in memory, the state, the user of the process, and the inode. A
socket that no process has yet, or has any more, has the inode 0, and then its user means nothing. One that waits to be accepted belongs to
the user that listens.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from attrs import frozen

from nbdtun.ownership.way import known

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS: Final = "0A"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@frozen
class _Entry:
    """One socket of the tables."""

    here: tuple[Address, int]
    there: tuple[Address, int]
    listens: bool
    uid: int
    owned: bool


def stranger(sock: socket.socket) -> str:
    """
    Why the other end of ``sock`` cannot be trusted like this process: the user there, or that none is known.

    Empty if it is root's or our own, or if it is no TCP socket: the modes of files guard UNIX sockets.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    try:
        here, there = _address(sock.getsockname()), _address(sock.getpeername())
    except OSError:
        return "it has gone already"
    users = _users(here, there)
    foreign = sorted(users - known())
    if foreign:
        return f"uid {foreign[0]} is at the other end"
    return "" if users else "the user at the other end is unknown"


def _users(here: tuple[Address, int], there: tuple[Address, int]) -> set[int]:
    """The users of the socket at ``there``; of all who listen there, while it waits to be accepted."""
    entries = list(_entries())
    for entry in entries:
        if entry.here == there and entry.there == here and entry.owned:
            return {entry.uid}
    return {entry.uid for entry in entries if entry.listens and entry.owned and _serves(entry, there)}


def _serves(entry: _Entry, there: tuple[Address, int]) -> bool:
    address, port = entry.here
    return port == there[1] and (address == there[0] or address.is_unspecified)


def _entries() -> Iterator[_Entry]:
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:  # no IPv6
            continue
        for line in lines:
            fields = line.split()
            yield _Entry(_kernels(fields[1]), _kernels(fields[2]), fields[3] == _LISTENS, int(fields[7]), fields[9] != "0")


def _kernels(text: str) -> tuple[Address, int]:
    """``0100007F:1F90``: four bytes at a time, in this machine's order; the port is a plain number."""
    digits, _, port = text.partition(":")
    raw = bytes.fromhex(digits)
    if sys.byteorder == "little":
        raw = b"".join(raw[place : place + 4][::-1] for place in range(0, len(raw), 4))
    return _plain(ipaddress.ip_address(raw)), int(port, 16)


def _address(name: tuple[str, int] | tuple[str, int, int, int]) -> tuple[Address, int]:
    return _plain(ipaddress.ip_address(name[0].partition("%")[0])), name[1]


def _plain(address: Address) -> Address:
    """An IPv4 address as such, also where a socket of IPv6 has it."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
