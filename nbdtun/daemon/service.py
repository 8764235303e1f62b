"""
The service that the twistd plugins run. A failure to start is one line, not a traceback; and it ends properly when its terminal closes.

The services themselves raise errors, for applications that embed them to catch.
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
    Holds ``services``. ``plugin`` is the name that its error lines begin with; ``twistd`` has twistd's own options.
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
        Start, while twistd still has the user that it was started as.

        Signals that end it are blocked until the reactor runs, which has handlers for them: a process killed before that would leave its
        sockets behind.

        :raise SystemExit: the start failed, and the log has the reason in one line; twistd ends with status 1.
        """
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            super().privilegedStartService()
        except NbdtunError as error:
            line = f"{self._plugin}: {error.line}"
            self._undo()
            print(line, file=sys.stderr)  # twistd's log by now, which has the whole line
            self._report(line)
            raise SystemExit(1) from None

    def startService(self) -> None:
        """Start what needs no privileges. From now on SIGHUP, for which Twisted has no handler, stops like SIGTERM, except under nohup."""
        super().startService()
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
            signal.signal(signal.SIGHUP, self._hang_up)
        self._reactor.callWhenRunning(signal.pthread_sigmask, signal.SIG_SETMASK, self._mask)
        self._reactor.addSystemEventTrigger("before", "shutdown", _stop_listening_to_signals)

    def _hang_up(self, number: int, _: FrameType | None) -> None:
        _stop_listening_to_signals()
        cast("IReactorFromThreads", self._reactor).callFromThread(self._reactor.stop)

    def _undo(self) -> None:
        """Stop the services that have started; removing their sockets takes the reactor."""
        self._reactor.callWhenRunning(lambda: maybeDeferred(self.stopService).addBoth(lambda _: self._reactor.stop()))
        self._reactor.run()

    def _report(self, line: str) -> None:
        """
        Remove the pidfile, and report to the process that waits at the operator's terminal, which reads 100 bytes.

        twistd does both for an Exception, whose traceback it logs, and neither for a SystemExit: its first process would wait for ever
        (UnixApplicationRunner.postApplication() and _waitForStart() in twisted/scripts/_twistd_unix.py).
        """
        if self._twistd.get("pidfile"):
            remove_file(self._twistd["pidfile"])
        pipe = self._twistd.get("statusPipe")
        if pipe is not None:
            os.write(pipe, f"1 {line}".encode("ascii", "backslashreplace")[:100])


def _stop_listening_to_signals() -> None:
    """Ignore further signals: a reactor can be stopped once, and the undo must run to its end."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def leave(reactor: IReactorCore, error: NbdtunError | CancelledError | None) -> None:
    """
    End a daemon whose only work is done: with status 0, 1 for an error, 3 for an unknown outcome, 130 if it was cancelled.

    twistd itself always ends with status 0. So the process exits with its own status last, when all is stopped and removed.
    """
    if error is not None:
        status = 130 if isinstance(error, CancelledError) else 3 if isinstance(error, OutcomeUnknown) else 1
        atexit.register(os._exit, status)
    reactor.callWhenRunning(reactor.stop)  # it may have failed before the reactor runs
