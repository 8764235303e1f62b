"""
What the twistd plugins run: a service whose failure to start is one line, as an operator expects of a daemon, and not a traceback; and
which ends properly with its terminal, too.

The services themselves raise errors, because an application that embeds them wants to catch these.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any, cast

from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError, maybeDeferred
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads

from nbdtun.errors import NbdtunError, OutcomeUnknown
from nbdtun.ownership.files import remove_file
from nbdtun.process import ENDING


class Daemon(MultiService):
    """
    Holds ``services``; ``plugin`` is the name that its complaints begin with, and ``twistd`` the options of twistd itself, which tell how
    it was started.
    """

    def __init__(self, reactor: IReactorCore, plugin: str, twistd: Mapping[str, Any], *services: IService) -> None:
        super().__init__()
        self._reactor = reactor
        self._plugin = plugin
        self._twistd = twistd
        self._mask: Iterable[int] = ()  # the signals that were blocked before
        for service in services:
            service.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """
        Start; this is where twistd is still the user that it was started as.

        Signals that end it wait from now on until the reactor runs, which has handlers for them: a process that they kill before would
        leave its sockets behind.

        :raise SystemExit: that failed, as the log says in one line; twistd ends with status 1.
        """
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            super().privilegedStartService()
        except NbdtunError as error:
            line = f"{self._plugin}: {error.line}"
            self._undo()
            print(line, file=sys.stderr)  # which is twistd's log by now; whoever is told is to find it there
            self._tell(line)
            raise SystemExit(1) from None

    def startService(self) -> None:
        """Start what needs no privileges; SIGHUP, for which Twisted has no handler, stops from now on as SIGTERM does, but under nohup."""
        super().startService()
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._hang_up)
        self._reactor.callWhenRunning(signal.pthread_sigmask, signal.SIG_SETMASK, self._mask)
        self._reactor.addSystemEventTrigger("before", "shutdown", _stop_listening_to_signals)

    def _hang_up(self, number: int, _: FrameType | None) -> None:
        _stop_listening_to_signals()
        cast("IReactorFromThreads", self._reactor).callFromThread(self._reactor.stop)

    def _undo(self) -> None:
        """Stop what has started already; it takes the reactor to remove its sockets."""
        self._reactor.callWhenRunning(lambda: maybeDeferred(self.stopService).addBoth(lambda _: self._reactor.stop()))
        self._reactor.run()

    def _tell(self, line: str) -> None:
        """
        Remove the pidfile, and tell the process that waits at the operator's terminal, which reads 100 bytes.

        twistd does both for an Exception, whose traceback it logs, and neither for a SystemExit: its first process would wait for ever
        (UnixApplicationRunner.postApplication() and _waitForStart() in twisted/scripts/_twistd_unix.py).
        """
        if self._twistd.get("pidfile"):
            remove_file(self._twistd["pidfile"])
        pipe = self._twistd.get("statusPipe")
        if pipe is not None:
            os.write(pipe, f"1 {line}".encode("ascii", "backslashreplace")[:100])


def _stop_listening_to_signals() -> None:
    """It is being stopped; a reactor can be stopped once, and what there is to undo is undone whoever loses patience."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def leave(reactor: IReactorCore, error: NbdtunError | CancelledError | None) -> None:
    """
    End a daemon whose only work is done: with status 0, 1 for an error, 3 for an unknown outcome, 130 if it was cancelled.

    twistd itself knows no status but 0; so the last thing that the process does, when all is stopped and removed, is to end with another.
    """
    if error is not None:
        status = 130 if isinstance(error, CancelledError) else 3 if isinstance(error, OutcomeUnknown) else 1
        atexit.register(os._exit, status)
    reactor.callWhenRunning(reactor.stop)  # it may have failed before the reactor runs
