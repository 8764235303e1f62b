"""
Endpoint strings, before anything listens or dials: is one valid, who can reach it, and which host does it name?

``HOST:PORT`` and its kin (:mod:`.addresses`) and absolute paths are strings as well. All others are Twisted's.
Twisted has no public parser for its endpoint strings, only functions that make endpoints of them. So these few lines read them as those
functions do (``:`` separates, ``=`` names, a backslash escapes either), and :func:`parse` lets Twisted itself check the known kinds.
Kinds that a plugin adds (``tor:``, ``systemd:``) are left to the plugin, and count as reachable by anybody.
"""

from __future__ import annotations

import enum
import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from attrs import field, frozen
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor, IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from nbdtun.config.addresses import dialled, escaped, is_address, listened
from nbdtun.config.ssh import SSHAddress, is_ssh
from nbdtun.errors import ConfigError
from nbdtun.ownership.way import LONGEST_SOCKET_PATH


class Role(enum.Enum):
    """How an endpoint is used: both kinds of strings look alike and mean different things."""

    LISTEN = "listen on"
    CONNECT = "connect to"


_FORMS = {
    ("tcp", Role.LISTEN): "PORT or ADDRESS:PORT ([ADDRESS]:PORT for IPv6)",
    ("tcp", Role.CONNECT): "HOST or HOST:PORT ([ADDRESS]:PORT for IPv6)",
    ("unix", Role.LISTEN): "unix:PATH or unix:PATH:mode=660",
    ("unix", Role.CONNECT): "unix:PATH",
}


@frozen
class Address:
    """
    The parts of an endpoint string. ``text`` is as the operator wrote it, ``endpoint`` is the same for Twisted. ``host`` is the host to
    dial, or the interface to listen on ("" for all). ``path`` and ``mode`` belong to a UNIX socket. What the string does not give is None.
    """

    text: str
    endpoint: str
    kind: str
    host: str | None = None
    port: int | None = None
    path: str | None = None
    mode: int | None = None
    backlog: int | None = None
    named: Mapping[str, str] = field(factory=dict)

    @property
    def local(self) -> bool:
        """Whether it reaches, or can be reached from, this machine only."""
        return self.path is not None or (self.host is not None and _is_loopback(self.host))

    def at_port(self, port: int) -> str:
        """The endpoint string that listens on another port of the same host; that of a socket without ports is the same."""
        if self.port is None:
            return self.text
        backlog = "" if self.backlog is None else f":backlog={self.backlog}"
        return f"tcp:{port}{f':interface={escaped(self.host)}' if self.host else ''}{backlog}"


def parse(text: str, role: Role) -> Address:
    """
    Parse and check an endpoint string.

    :raise ConfigError: it is not a valid endpoint, or a UNIX socket's path is too long; the text names it.
    """
    endpoint = _in_full(text, role)
    positional, named = _split(endpoint)
    kind = positional.pop(0).lower() if positional else ""
    if not positional and not named:
        raise ConfigError(f"{text!r} is not an endpoint to {role.value}; use a form such as {_FORMS['tcp', role]}")
    if kind in ("tcp", "unix"):
        _check_by_twisted(text, endpoint, role, kind)
    elif not _is_kind(kind, role):
        raise ConfigError(f"{text!r} is not an endpoint to {role.value}", _remedy(text, kind, role))
    if kind == "unix":
        return _unix(text, endpoint, positional, named)
    if kind == "tcp":
        host, port = (_listened if role is Role.LISTEN else _dialled)(positional, named)
        if not (role is Role.CONNECT) <= int(port) < 65536:  # a listener's port 0 is the kernel's choice
            raise ConfigError(f"{text!r} is not an endpoint to {role.value}: there is no port {port}")
        backlog = named.get("backlog")
        return Address(text, endpoint, kind, host=host, port=int(port), backlog=int(backlog) if backlog else None, named=named)
    return Address(text, endpoint, kind)


def check_listener(text: str) -> str:
    """
    Return an endpoint to listen on.

    :raise ConfigError: it is none.
    """
    parse(text, Role.LISTEN)
    return text


def check_destination(text: str) -> str:
    """
    Return an endpoint of a destination, or a host to reach by ssh.

    :raise ConfigError: it is neither.
    """
    if is_ssh(text):
        SSHAddress.parse(text)
        return text
    try:
        parse(text, Role.CONNECT)
    except ConfigError as error:
        if "://" in text or text.startswith("ssh:"):
            raise ConfigError(error.what, "use the form HOST, HOST:PORT or ssh://HOST") from None
        raise
    return text


def _in_full(text: str, role: Role) -> str:
    """The endpoint string that an address or a path stands for; any other text is itself."""
    if text.startswith("/"):
        return f"unix:{text}"
    complete = dialled if role is Role.CONNECT else listened
    return complete(text, lambda kind: "." not in kind and _is_kind(kind, role)) or text


def _unix(text: str, endpoint: str, positional: list[str], named: dict[str, str]) -> Address:
    """Read ``unix:PATH[:MODE[:BACKLOG[:LOCKFILE]]]``. Each may be named instead; to connect, all but PATH must be."""
    rest = iter(positional)
    path = check_socket_path(named.get("address") or named.get("path") or next(rest, ""))
    given = {**dict(zip(("mode", "backlog", "lockfile"), rest, strict=False)), **named}
    if given.get("lockfile", "0") != "0":
        raise ConfigError(f"{text}: nbdtun does not use lock files; leave lockfile= out")
    mode, backlog = given.get("mode"), given.get("backlog")
    return Address(text, endpoint, "unix", path=path, mode=int(mode, 8) if mode else None, backlog=int(backlog) if backlog else None)


def host_of(text: str) -> str | None:
    """
    The host that a client endpoint string names; None if it names none.

    :raise ConfigError: it is not an endpoint.
    """
    return parse(text, Role.CONNECT).host


def check_socket_path(path: str) -> str:
    """
    Return ``path`` if a UNIX socket can have it.

    :raise ConfigError: it is empty, longer than 107 bytes, or not a path.
    """
    try:
        length = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise ConfigError(f"{path!r} is not a path") from None
    if "\0" in path:
        raise ConfigError(f"{path!r} is not a path")
    if length == 0:
        raise ConfigError("a UNIX socket needs a path")
    if length > LONGEST_SOCKET_PATH:
        raise ConfigError(f"{path}: too long for the path of a UNIX socket: {length} bytes, at most {LONGEST_SOCKET_PATH}")
    return path


def check_exposure(text: str, role: Role, *, tls: bool, insecure: bool) -> Address:
    """
    Parse an endpoint of the tunnel, and refuse one that others could reach or read without TLS.

    :raise ConfigError: it is not valid, or it needs ``tls`` or ``insecure``, as it is neither loopback nor a UNIX socket.
    """
    address = parse(text, role)
    if tls or insecure or address.local:
        return address
    raise ConfigError(
        f"{text}: without --tls-dir, nbdtun will {role.value} loopback and UNIX sockets only; "
        "give --tls-dir, or --insecure on a trusted network"
    )


def _split(text: str) -> tuple[list[str], dict[str, str]]:
    """The positional arguments, of which the first is the kind, and the named ones."""
    fields: list[list[str]] = [[""]]
    letters = iter(text)
    for letter in letters:
        if letter == "\\":
            fields[-1][-1] += next(letters, "")
        elif letter == ":":
            fields.append([""])
        elif letter == "=" and len(fields[-1]) == 1:
            fields[-1].append("")
        else:
            fields[-1][-1] += letter
    return [field[0] for field in fields if len(field) == 1], {field[0]: field[1] for field in fields if len(field) == 2}


def _check_by_twisted(text: str, endpoint: str, role: Role, kind: str) -> None:
    """Make the endpoint and drop it: for the known kinds this touches neither network nor reactor."""
    make: Callable[[object, str], object] = serverFromString if role is Role.LISTEN else clientFromString
    try:
        make(object(), endpoint)
    except Exception as error:  # Twisted documents no error class: a trailing backslash is a RuntimeError
        raise ConfigError(f"{text!r} is not an endpoint to {role.value}", _remedy(text, kind, role)) from error


def _remedy(text: str, kind: str, role: Role) -> str:
    """The nearest that the operator may have meant, or the form of an endpoint."""
    address, _, port = text.removeprefix("tcp:").rpartition(":")
    if ":" in address and port.isdigit() and is_address(address):
        return f"did you mean [{address}]:{port}?"
    near = get_close_matches(kind, ("tcp", "unix"), 1, 0.6)
    if near and near[0] != kind:
        return f"did you mean {near[0]}{text[len(kind) :]}?"
    return f"use the form {_FORMS.get((kind, role), _FORMS['tcp', role])}"


def _is_kind(kind: str, role: Role) -> bool:
    """Whether Twisted or a plugin knows endpoints of this kind."""
    interface = IStreamServerEndpointStringParser if role is Role.LISTEN else IStreamClientEndpointStringParserWithReactor
    return kind.lower() in {"tcp", "unix", "ssl", *_prefixes(getPlugins(interface))}


def _prefixes(parsers: Iterable[Any]) -> Iterator[str]:
    return (parser.prefix.lower() for parser in parsers)


def _listened(positional: list[str], named: dict[str, str]) -> tuple[str, str]:
    """Interface ("" for all) and port of ``tcp:PORT[:INTERFACE[:BACKLOG]]``; each may be named instead."""
    rest = iter(positional)
    port = named["port"] if "port" in named else next(rest)
    return named["interface"] if "interface" in named else next(rest, ""), port


def _dialled(positional: list[str], named: dict[str, str]) -> tuple[str, str]:
    """Host and port of ``tcp:HOST:PORT``; each may be named instead."""
    rest = iter(positional)
    host = named["host"] if "host" in named else next(rest)
    return host, named["port"] if "port" in named else next(rest)


def _is_loopback(host: str) -> bool:
    if host.rstrip(".").lower() in ("localhost", "localhost.localdomain", "ip6-localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False
