"""
The user at the other end of a TCP connection within this host; the kernel's tables of sockets tell.

Without TLS, any user of this host can reach a port on loopback, or take one that a daemon has left. /proc/net/tcp and tcp6 (proc(5)) have
the sockets of this network namespace: addresses as the kernel has them in memory, the state, the user of the process, and the inode. A
socket that no process has yet, or has any more, has the inode 0, and then its user means nothing. One that waits to be accepted belongs to
the user that listens. Only a destination's can wait like that: who listens at a client's port may have nothing to do with the client, which
may be on another host, or have gone.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
from pathlib import Path
from typing import Final

_TABLES: Final = ((Path("/proc/net/tcp"), 4), (Path("/proc/net/tcp6"), 6))

#: The rest of a line behind the two addresses: state, queues, timer, retransmissions, user, probes, inode.
_REST: Final = r"\S+ \S+ \S+ +(\d+) +\d+ (\d+) "
_LISTENS: Final = "0A"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def stranger(sock: socket.socket, *, accepted: bool) -> str:
    """
    Why the other end of ``sock``, which was ``accepted`` here or connected, cannot be trusted like this process: the user there, or that
    none is known.

    Empty if it is root's or our own, or if it is no TCP socket: the modes of files guard UNIX sockets.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    try:
        here, there = _address(sock.getsockname()), _address(sock.getpeername())
    except OSError:
        return "it has gone already"
    users = _users(here, there, waiting=not accepted)
    foreign = sorted(users - {0, os.geteuid()})  # in a user namespace, all other users of the host look like one
    if foreign:
        return f"uid {foreign[0]} is at the other end"
    return "" if users else "the user at the other end is unknown"


def _users(here: tuple[Address, int], there: tuple[Address, int], *, waiting: bool) -> set[int]:
    """
    The users of the socket at ``there``; of all who listen there, if it may be ``waiting`` to be accepted.

    The tables can be long, and a mob makes them longer: they are searched as text.
    """
    tables = [(_read(path), version) for path, version in _TABLES]
    for text, version in tables:
        found = _search(text, _kernels(there, version), _kernels(here, version), r"[0-9A-F]{2}")
        if found:
            return found
    listening: set[int] = set()
    for text, version in tables if waiting else ():
        for address in (there[0], type(there[0])(0), ipaddress.IPv6Address(0)):
            nowhere = _kernels((ipaddress.IPv6Address(0) if version == 6 else ipaddress.IPv4Address(0), 0), version)
            listening |= _search(text, _kernels((address, there[1]), version), nowhere, _LISTENS)
    return listening


def _search(text: str, there: str, here: str, state: str) -> set[int]:
    """The users of sockets between two addresses, as far as processes have them."""
    if not there or not here or f" {there} {here} " not in text:
        return set()
    return {int(uid) for uid, inode in re.findall(f" {there} {here} {state} {_REST}", text) if inode != "0"}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # no IPv6
        return ""


def _kernels(place: tuple[Address, int], version: int) -> str:
    """
    ``0100007F:1F90``: four bytes at a time, in this machine's order; the port is a plain number.

    Empty if there is no such address in the table of IPv4; the other one has all addresses of IPv4 as mapped ones.
    """
    address, port = place
    if version == 4 and address.version == 6:
        return ""
    raw = address.packed
    if version == 6 and address.version == 4:
        raw = ipaddress.IPv6Address(b"\0" * 10 + b"\xff\xff" + raw).packed
    if sys.byteorder == "little":
        raw = b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))
    return f"{raw.hex().upper()}:{port:04X}"


def _address(name: tuple[str, int] | tuple[str, int, int, int]) -> tuple[Address, int]:
    return _plain(ipaddress.ip_address(name[0].partition("%")[0])), name[1]


def _plain(address: Address) -> Address:
    """An IPv4 address as such, also where a socket of IPv6 has it."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
