"""
What a program has from the one whose place it takes: its listening sockets, by their endpoints, a socket to speak with it, and the bucket
of its bandwidth limit.

They are passed on over exec(2), and an environment variable says which they are, as ``LISTEN_FDS`` does for systemd's (sd_listen_fds(3)).
A listening socket that two processes have is one socket, with one queue: no connection is refused, whoever of them accepts it.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from zope.interface import implementer

from nbdtun.errors import ConfigError
from nbdtun.ownership.listening import Listener
from nbdtun.ownership.reach import peer

VARIABLE: Final = "NBDTUN_HERITAGE"

#: The listening sockets that nobody has claimed yet, by their endpoints.
_left: Final[dict[str, int]] = {}


#: Under which the bucket stands among them; no endpoint has this name.
BUCKET: Final = ""


def bequeath(link: int, listeners: Mapping[str, int]) -> dict[str, str]:
    """The environment for a program that takes over these descriptors."""
    return {VARIABLE: json.dumps({"link": link, "listeners": dict(listeners)})}


def inherit(environment: MutableMapping[str, str]) -> socket.socket | None:
    """
    Take over what ``environment`` names, once; return the socket to the process that has it now, None if there is none.

    :raise ConfigError: it names no sockets, or another user is at the other end.
    """
    text = environment.pop(VARIABLE, "")
    if not text:
        return None
    try:
        told = json.loads(text)
        link = socket.socket(fileno=int(told["link"]))
        for label, descriptor in told["listeners"].items():
            os.set_inheritable(descriptor, False)
            _left[label] = descriptor
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as wrong:
        raise ConfigError(f"{VARIABLE}: it names no sockets of a daemon: {wrong}", "start the daemon without it") from wrong
    link.set_inheritable(False)
    link.setblocking(False)
    if peer(link).uid != os.geteuid():
        link.close()
        raise ConfigError(f"{VARIABLE}: another user has made its socket", "start the daemon without it")
    return link


def claim(label: str) -> int | None:
    """The listening socket of the endpoint ``label``, if there is one; it is the caller's then."""
    return _left.pop(label, None)


def left(labels: Iterable[str]) -> list[str]:
    """Those of these endpoints whose listening sockets nobody has claimed."""
    return [label for label in labels if label in _left]


def renounce() -> None:
    """Close what nobody has claimed: the new program does not listen there any more."""
    while _left:
        os.close(_left.popitem()[1])


@implementer(IStreamServerEndpoint)
@frozen
class Inherited:
    """Listens with ``descriptor``; with the names of ``listener`` where that is a UNIX socket."""

    reactor: Any
    descriptor: int
    listener: Listener | None = None

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Go on listening; the Deferred fails with :exc:`OSError` if that is not possible."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        sock = socket.socket(fileno=self.descriptor)
        sock.setblocking(False)
        if self.listener is not None:
            return self.listener.go_on(sock, factory)
        with sock:  # the reactor takes a descriptor of its own
            port: IListeningPort = self.reactor.adoptStreamPort(sock.fileno(), sock.family, factory)
        return port
