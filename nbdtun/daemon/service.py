"""
The service that the twistd plugins run. A failure to start is one line, not a traceback; and a signal ends it in good order.

The first SIGTERM, SIGINT or SIGHUP lets the services finish what would be lost, as far as each can; a second one (but SIGHUP) stops them
at once. Where there is a configuration file, SIGHUP reads it again, unless it comes from a terminal that was closed. The services
themselves raise errors, for applications that embed them to catch.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from types import FrameType
from typing import Any, Final, Protocol, cast, runtime_checkable

from twisted.application.service import IService, MultiService
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads, IReactorTime
from twisted.python.failure import Failure

from nbdtun.daemon.notify import Manager
from nbdtun.daemon.reload import Reload
from nbdtun.deferreds import gather
from nbdtun.errors import GuestLost, NbdtunError, OutcomeUnknown
from nbdtun.logs import make_logger
from nbdtun.ownership.files import remove_file
from nbdtun.process import ENDING, gone


@runtime_checkable
class Drainable(Protocol):
    """A service that has something to finish before it is stopped."""

    def drain(self) -> Deferred[None]:
        """Finish it, within a limit; cancelling this ends the wait."""


@runtime_checkable
class Describing(Protocol):
    """A service that says what it does."""

    def doing(self) -> str:
        """A few words."""


class Daemon(MultiService):
    """
    Holds ``services``. ``plugin`` is the name that its error lines begin with; ``twistd`` has twistd's own options.

    With ``outlives_terminal`` it goes on when its terminal is closed. SIGHUP from elsewhere reads its configuration file again, by
    ``reload``, if it has one.
    """

    log = make_logger()

    def __init__(
        self,
        reactor: IReactorCore,
        plugin: str,
        twistd: Mapping[str, Any],
        *services: IService,
        outlives_terminal: bool = False,
        reload: Reload | None = None,
    ) -> None:
        super().__init__()
        self.reload = reload
        self._terminals: list[int] = []
        self._outlives_terminal = outlives_terminal
        self._draining: Deferred[Any] | None = None
        self._reactor = reactor
        self._plugin = plugin
        self._twistd = twistd
        self._mask: Iterable[int] | None = None  # the signals that were blocked before
        self.manager = Manager.of(os.environ)
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
        self._terminals = [number for number in range(3) if os.isatty(number)]
        try:
            super().privilegedStartService()
        except NbdtunError as error:
            line = f"{self._plugin}: {error.line}"
            self._undo()
            print(line, file=sys.stderr)  # twistd's log by now, which has the whole line
            self._report(line)
            raise SystemExit(1) from None

    def startService(self) -> None:
        """Start what needs no privileges, and handle signals as soon as the reactor runs."""
        if self._mask is None:  # twist starts services at once
            self.privilegedStartService()
        super().startService()
        self._reactor.callWhenRunning(self._run)
        self._reactor.addSystemEventTrigger("before", "shutdown", _ignore_signals)

    def _run(self) -> None:
        self._handle_signals()
        self.manager.ready(cast("IReactorTime", self._reactor), self._doing)

    def _doing(self) -> str:
        return "; ".join(each.doing() for each in self if isinstance(each, Describing))

    def stopService(self) -> Deferred[Any]:
        """Stop the services; fires when all have stopped."""
        self.manager.stopping()
        stopped: Deferred[Any] = super().stopService()
        return stopped.addBoth(self._stopped)

    def _stopped(self, result: object) -> object:
        self.manager.close()
        return result

    def _handle_signals(self) -> None:
        """In place of Twisted's handlers, which stop the reactor at once. Signals that are ignored stay so, such as SIGHUP under nohup."""
        for number in ENDING:
            if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._signalled)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask or ())

    def end(self, *, at_once: bool = False) -> None:
        """End in good order, as at a signal, if that has not begun; or at once, as at a second one."""
        if at_once or self._draining is None:
            self._end(signal.SIGTERM)

    def _signalled(self, number: int, _: FrameType | None) -> None:
        cast("IReactorFromThreads", self._reactor).callFromThread(self._end, number)

    def _end(self, number: int) -> None:
        if number == signal.SIGHUP and self.reload is not None and self.reload.possible and not any(map(gone, self._terminals)):
            self.reload.at_signal()
        elif number == signal.SIGHUP and self._outlives_terminal:
            self.log.info("the terminal was closed; the migration goes on, SIGTERM rolls it back")
        elif self._draining is None:
            self._draining = gathered = Deferred.fromCoroutine(gather(each.drain() for each in self if isinstance(each, Drainable)))
            self.manager.stopping()
            gathered.addErrback(self._undrained).addBoth(lambda _: stop(self._reactor))
        elif number != signal.SIGHUP:  # both the shell and the kernel may send it for one terminal
            self._draining.cancel()

    def _undrained(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self.log.failure("what was under way could not be waited for", failure=failure)

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


def _ignore_signals() -> None:
    """Ignore further signals: a reactor can be stopped once, and the undo must run to its end."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def stop(reactor: IReactorCore) -> None:
    """Stop ``reactor``, if that has not begun."""
    with suppress(ReactorNotRunning):
        reactor.stop()


_STATUSES: Final = ((CancelledError, 130), (OutcomeUnknown, 3), (GuestLost, 4))


def leave(reactor: IReactorCore, error: NbdtunError | CancelledError | None) -> None:
    """
    End a daemon whose only work is done: with status 0, 1 for an error, 3 for an unknown outcome, 4 for a lost guest, 130 if cancelled.

    twistd itself always ends with status 0. So the process exits with its own status last, when all is stopped and removed.
    """
    if error is not None:
        status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 1)
        atexit.register(os._exit, status)
    reactor.callWhenRunning(stop, reactor)  # it may have failed before the reactor runs
