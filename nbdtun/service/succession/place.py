"""What a succession knows of its process: the daemon that has the place, and what the process does for itself."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from attrs import frozen

from nbdtun.errors import NbdtunError
from nbdtun.service.succession.earlier import Earlier
from nbdtun.service.succession.later import Keeping
from nbdtun.tunnel.runtime.throttle import Throttle


class Running(Protocol):
    """A program that was started."""

    pid: int

    def kill(self) -> None:
        """End it."""


class Replaceable(Keeping, Protocol):
    """A daemon's service whose program can be replaced."""

    #: The process that has taken over, and the one before this one.
    replaced_by: int | None
    earlier: Earlier | None
    #: The bandwidth limit of its end of the tunnel, which is one for all processes.
    throttle: Throttle

    @property
    def fixed(self) -> str:
        """Why it cannot be replaced; empty if it can."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to keep."""

    def follow(self, earlier: Earlier) -> None:
        """Another process keeps what it has."""

    def took_over(self) -> None:
        """The daemon is this process's now."""

    def counted(self, users: Mapping[str, int], figures: Mapping[str, Any]) -> None:
        """So many channels do local users have in the processes before this one, and these are their metrics."""

    def keep_port(self, label: str) -> None:
        """Listen at another endpoint as well, for the process before this one (:exc:`NbdtunError`)."""


@frozen
class Surroundings:
    """
    What a process does for itself. ``start`` starts the program again, with these descriptors for its link and its listening sockets.
    ``main`` tells the service manager which process is the daemon's. ``leave`` stops in good order, as a signal does, or with
    ``True`` at once, as a second signal does; ``stop`` stops where nothing is left, and ``fail`` with an error.
    """

    start: Callable[[socket.socket, Mapping[str, int]], Running]
    main: Callable[[int], None]
    leave: Callable[[bool], None]
    stop: Callable[[], None]
    fail: Callable[[NbdtunError], None]
