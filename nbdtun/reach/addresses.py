"""The addresses at which others may reach this host, the likeliest first."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

_SIOCGIFADDR: Final = 0x8915  # linux/sockios.h
_IF_INET6: Final = Path("/proc/net/if_inet6")

#: The most addresses that are told.
MOST: Final = 16


def own_addresses(environment: Mapping[str, str] = os.environ) -> list[str]:
    """
    Return this host's addresses: first the one that sshd was reached at, then those of its interfaces.

    Loopback and link-local ones are only told where ssh itself came to one.
    """
    found = [*_of_ssh(environment), *filter(_is_wide, [*_four(), *_six()])]
    return list(dict.fromkeys(found))[:MOST]


def _of_ssh(environment: Mapping[str, str]) -> Iterator[str]:
    """``SSH_CONNECTION`` has the client's address and port, and the server's (ssh(1))."""
    words = environment.get("SSH_CONNECTION", "").split()
    if len(words) == 4:
        with suppress(ValueError):
            address = ipaddress.ip_address(words[2].partition("%")[0])
            yield str(getattr(address, "ipv4_mapped", None) or address)


def _four() -> Iterator[str]:
    """One IPv4 address of each interface (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            with suppress(OSError):
                answer = fcntl.ioctl(asked, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                yield socket.inet_ntoa(answer[20:24])


def _six() -> Iterator[str]:
    """The IPv6 addresses (proc_net(5))."""
    with suppress(OSError, ValueError):
        for line in _IF_INET6.read_text().splitlines():
            yield str(ipaddress.IPv6Address(bytes.fromhex(line.split()[0])))


def _is_wide(address: str) -> bool:
    found = ipaddress.ip_address(address)
    return not (found.is_loopback or found.is_link_local or found.is_unspecified)
