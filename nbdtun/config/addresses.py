"""
Addresses as operators write them, ``HOST``, ``HOST:PORT``, ``[IPv6]:PORT``, and an endpoint string in full for each.

``tcp:`` may stand before each. Twisted's own strings, in which the colons of an IPv6 address are escaped, are left as they are.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from typing import Final

#: The port of a destination, where none is given.
PORT: Final = 10810

#: An IPv6 address in brackets, or a host without colons; the options are Twisted's, such as ``:timeout=5``.
_ADDRESS: Final = re.compile(
    r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]|(?P<host>[^\s:=\[\]\\/%]*))(?::(?P<port>[0-9]+))?(?P<options>(?::[A-Za-z]+=.*)?)",
    re.ASCII,
)
_POSITIONAL: Final = re.compile(":(host|port|interface)=")


def dialled(text: str, is_kind: Callable[[str], bool]) -> str | None:
    """
    The endpoint string for an address to connect to; None if ``text`` is not one. ``is_kind`` tells kinds of endpoints from hosts.
    """
    found = _read(text, is_kind)
    if found is None or found[0] in ("", "*") or found[0].isdigit():
        return None
    host, port, options = found
    return f"tcp:{escaped(host)}:{port or PORT}{options}"


def listened(text: str, is_kind: Callable[[str], bool]) -> str | None:
    """The same for an address to listen on: ``PORT``, ``:PORT``, ``*:PORT``, ``ADDRESS`` and ``ADDRESS:PORT``."""
    found = _read(text, is_kind)
    if found is None:
        return None
    host, port, options = found
    if port is None and host.isdigit():
        host, port = "", host
    if not (port or is_address(host)) or host.isdigit():
        return None
    interface = "" if host in ("", "*") else f":interface={escaped(host)}"
    return f"tcp:{port or PORT}{interface}{options}"


def _read(text: str, is_kind: Callable[[str], bool]) -> tuple[str, str | None, str] | None:
    """Host, port and options; None if ``text`` is of another form, such as Twisted's own."""
    short = text.removeprefix("tcp:")
    if is_address(short):
        return short, None, ""
    match = _ADDRESS.fullmatch(short)
    if match is None or not short or _POSITIONAL.search(match["options"]):
        return None
    host = match["six"] or match["host"]
    if (match["six"] and not is_address(host)) or (short == text and host and not match["six"] and is_kind(host)):
        return None
    return host, match["port"], match["options"]


def escaped(host: str) -> str:
    return host.replace(":", "\\:")


def is_address(host: str) -> bool:
    """Whether it is an IP address, and not a name; one of IPv6 may have a zone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "/" not in host and ("%" not in host or re.fullmatch(r"[A-Za-z0-9._-]+", host.partition("%")[2], re.ASCII) is not None)
