"""
A service tells its service manager that it is ready, what it does, that it lives, and that it stops.

systemd names a datagram socket in ``NOTIFY_SOCKET``, and takes lines of ``KEY=value`` there (sd_notify(3)). A unit with ``WatchdogSec=``
also expects a sign of life within that time (sd_watchdog_enabled(3)). Ours comes from the reactor, so a reactor that hangs gives none.
While a service stops, each sign asks for more time: it waits for what is handed over, and each of these waits has a limit of its own.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from nbdtun.errors import printable
from nbdtun.logs import make_logger

#: Seconds between two looks at what the service does.
LOOK = 5.0

#: Seconds that a stopping service asks for, from each look on.
MORE = 60.0

Doing = Callable[[], str]


class Manager:
    """
    The service manager behind the socket ``address``, which expects a sign of life every ``watchdog`` seconds (None: none).

    Without an address there is none, and nothing is told.
    """

    log = make_logger()

    def __init__(self, address: str = "", watchdog: float | None = None) -> None:
        self._address = address
        self._looking: LoopingCall | None = None
        self._doing: Doing = str
        self._said = ""
        self._interval = LOOK if watchdog is None else min(LOOK, watchdog / 3)
        self._watchdog = watchdog
        self._watched = watchdog is not None
        self._stopping = self._repeats = False

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Manager:
        """Take the one out of ``environment``, so that no program that we start speaks in our name."""
        address = environment.pop("NOTIFY_SOCKET", "")
        interval, whose = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        watched = interval.isdigit() and int(interval) > 0 and whose in ("", f"{os.getpid()}")
        return cls(address if address.startswith(("/", "@")) else "", int(interval) / 1e6 if watched else None)

    @property
    def environment(self) -> dict[str, str]:
        """The environment that names it to another process of this service."""
        named = {"NOTIFY_SOCKET": self._address} if self._address else {}
        return named if self._watchdog is None else {**named, "WATCHDOG_USEC": f"{self._watchdog * 1e6:.0f}"}

    def main(self, pid: int) -> None:
        """The process ``pid`` is the service's main one from now on; it is the one that is heard."""
        self._tell(f"MAINPID={pid}")

    def repeat(self) -> None:
        """Tell the status at each look: the first ones may not be heard yet."""
        self._repeats = True

    def ready(self, reactor: IReactorTime, doing: Doing) -> None:
        """It is ready; from now on, tell what it does: the words that ``doing`` returns. May be called twice."""
        if self._address and self._looking is None:
            self._doing = doing
            self._tell("READY=1", *self._status())
            self._looking = LoopingCall(self._look)
            self._looking.clock = reactor
            self._looking.start(self._interval, now=False)

    def stopping(self, doing: Doing | None = None) -> None:
        """It stops, which may take a while. May be called again, with other words to tell."""
        self._doing = doing or self._doing
        first, self._stopping = not self._stopping, True
        self._tell(*["STOPPING=1", *self._more()] * first, *self._status())

    def close(self) -> None:
        """Tell nothing more. May be called twice."""
        looking, self._looking = self._looking, None
        if looking is not None and looking.running:
            looking.stop()

    def _look(self) -> None:
        self._tell(*["WATCHDOG=1"] * self._watched, *self._more(), *self._status())

    def _more(self) -> list[str]:
        return [f"EXTEND_TIMEOUT_USEC={MORE * 1e6:.0f}"] * self._stopping

    def _status(self) -> list[str]:
        """The line, if it is another one."""
        try:
            doing = printable(self._doing())  # a line break would end the line, and begin another word of ours
        except Exception:  # a bug in these words would end the signs of life, and the manager would kill a daemon that works
            self.log.failure("what this process does cannot be told")
            return []
        before, self._said = self._said, doing
        return [f"STATUS={doing}"] * (self._repeats or doing != before)

    def _tell(self, *lines: str) -> None:
        if not self._address or not lines:
            return
        where = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address  # abstract: unix(7)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as sock, suppress(OSError):
            sock.sendto("\n".join(lines).encode(), where)  # a manager that does not listen ends nothing
