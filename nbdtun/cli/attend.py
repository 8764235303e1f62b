"""
One attended migration: shows its progress, obeys Ctrl-C, reports an error in one line, and ends with a status.

The first SIGINT or SIGTERM cancels the migration, which then rolls back in its own time. Later ones change nothing: an interrupted rollback
would leave both machines in a bad state. Nor do signals after the handover, which cannot be taken back.

When its terminal goes away, with SIGHUP or without, the migration goes on, and is shown in a log. Ctrl-Z stops it only where the guest
cannot be paused meanwhile: nobody would let it run on.
"""

from __future__ import annotations

import enum
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TextIO

from attrs import evolve
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorCore
from twisted.python.failure import Failure

from nbdtun.cli.detached import Terminal
from nbdtun.cli.reactor import run
from nbdtun.cli.streams import before_complaint, complain, show_fault
from nbdtun.display import Display
from nbdtun.display.words import outcome
from nbdtun.errors import ConfigError, GuestLost, NbdtunError, OutcomeUnknown
from nbdtun.logs import traced
from nbdtun.migration.progress import Phase, Progress


class Status(enum.IntEnum):
    """The exit status of ``nbdtun migrate``."""

    COMPLETED = 0
    FAILED = 1
    USAGE = 2
    UNKNOWN = 3
    LOST = 4
    INTERRUPTED = 130


_BY_PHASE: Final = {
    Phase.COMPLETED: Status.COMPLETED,
    Phase.FAILED: Status.FAILED,
    Phase.CANCELLED: Status.INTERRUPTED,
    Phase.UNKNOWN: Status.UNKNOWN,
    Phase.LOST: Status.LOST,
}

_BY_ERROR: Final = ((OutcomeUnknown, Phase.UNKNOWN), (GuestLost, Phase.LOST))

#: The phases in which the guest may be paused, or will be by QEMU.
_DELICATE: Final = (Phase.RAM, Phase.SWITCHOVER, Phase.FINISH)

Start = Callable[[Callable[[Progress], None]], "Deferred[Progress]"]
Detached = Callable[[TextIO], Display]


def attend(reactor: IReactorCore, start: Start, display: Display, terminal: Terminal, detached: Detached, silent_about: str = "") -> Status:
    """
    Run ``reactor`` until the migration that ``start`` begins has ended; return its status.

    When ``terminal`` goes away, ``detached`` makes another display for its log. ``silent_about`` names the VM if ``display`` shows nothing:
    then the last line says what became of it.
    """
    attended = _Attended(start, display, terminal, detached, silent_about)
    handled: dict[int, Callable[[], None]] = dict.fromkeys((signal.SIGINT, signal.SIGTERM), attended.interrupt)
    handled |= {signal.SIGHUP: attended.hang_up, signal.SIGTSTP: attended.stop}
    background = signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # writing to the terminal stops no migration, whatever stty says
    before_complaint.append(attended.look)
    try:
        run(reactor, attended.begin, handled)
    finally:
        before_complaint.remove(attended.look)
        signal.signal(signal.SIGTTOU, background)
        attended.close()
    return attended.status


class _Attended:
    """A migration, its display, and whether it has been interrupted."""

    def __init__(self, start: Start, display: Display, terminal: Terminal, detached: Detached, silent_about: str) -> None:
        self.status = Status.FAILED
        self._silent_about = silent_about
        self._start = start
        self._display = display
        self._terminal = terminal
        self._detached = detached
        self._began = time.monotonic()
        self._latest: Progress | None = None
        self._running: Deferred[Progress] | None = None
        self._interrupted = False

    def __repr__(self) -> str:
        return f"<_Attended {self._latest and self._latest.phase.value} {'interrupted' if self._interrupted else ''}>"

    def begin(self) -> Deferred[None]:
        """Start the migration; fires when it has ended, in whatever way."""
        self._running = maybeDeferred(self._start, self._report)
        return self._running.addCallbacks(self._succeeded, self._failed)

    def interrupt(self) -> None:
        """Handle a signal: cancel once, while that is possible."""
        if self._interrupted:
            complain("already rolling back")
        elif self._latest is not None and self._latest.phase.handed_over:
            running = self._latest.phase is Phase.SETTLE
            complain(f"too late to interrupt: {'it runs at the destination' if running else 'the destination is taking over'}")
        else:
            self._interrupted = True
            complain("interrupted, rolling back")
            if self._running is not None:
                self._running.cancel()

    def hang_up(self) -> None:
        """Handle SIGHUP: go on without the terminal."""
        complain("the terminal was closed; the migration goes on: `nbdtun status` shows it, `nbdtun cancel` rolls it back")

    def stop(self) -> None:
        """Handle Ctrl-Z: stop, unless the guest could stay paused."""
        if self._latest is not None and self._latest.phase in _DELICATE:
            complain("Ctrl-Z is ignored in this phase: the guest could stay paused; Ctrl-C rolls the migration back")
        else:
            os.kill(os.getpid(), signal.SIGSTOP)

    def look(self) -> None:
        """Show the progress in the log from now on, if the terminal has gone away."""
        if self._terminal.leave(self._display.close):
            self._display = self._detached(sys.stdout)

    def close(self) -> None:
        """Show nothing more."""
        self._display.close()

    def _report(self, progress: Progress) -> None:
        self._latest = progress
        self.look()
        self._display.show(progress)

    def _succeeded(self, final: Progress) -> None:
        self._end(final.phase, None)

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError):
            self._end(Phase.CANCELLED, None)
        elif isinstance(error, NbdtunError):
            self._end_with(error)
        else:
            self._end(Phase.FAILED, NbdtunError(f"internal error: {failure.getErrorMessage()}"))
            show_fault(traced(failure))

    def _end_with(self, error: NbdtunError) -> None:
        phase = next((phase for kind, phase in _BY_ERROR if isinstance(error, kind)), Phase.FAILED)
        if self._latest is not None and self._latest.phase.final:
            phase = self._latest.phase
        self._end(phase, error)
        if isinstance(error, ConfigError):
            self.status = Status.USAGE

    def _end(self, phase: Phase, error: NbdtunError | None) -> None:
        """Show a final phase, if the migration did not report one; report the error; set the status."""
        if self._latest is None or not self._latest.phase.final:
            self._report(self._last_words(phase, error))
        self._display.close()
        if self._interrupted and phase is Phase.COMPLETED:
            complain("too late to interrupt: it had moved before it could be rolled back")
        self._tell(phase, error)
        self.status = _BY_PHASE[phase]

    def _tell(self, phase: Phase, error: NbdtunError | None) -> None:
        """Report the error in one line, and what became of the VM, unless the display or the error says so."""
        words, session = "", "" if self._latest is None else self._latest.session
        if self._silent_about and self._latest is not None and phase in (Phase.FAILED, Phase.CANCELLED):
            words = f"{self._silent_about} {outcome(self._latest)}"
        if error is not None:
            text = f"{error}; {words} [{error.code}]" if words else error.line
            complain(text, "error", code=error.code, phase=phase.value, session=session)
        elif words:
            complain(words, phase=phase.value, session=session)

    def _last_words(self, phase: Phase, error: NbdtunError | None) -> Progress:
        text, code, remedy = (None, None, None) if error is None else (str(error), error.code, error.remedy or None)
        told: dict[str, Any] = {"time": time.time(), "phase": phase, "error": text, "code": code, "remedy": remedy}
        elapsed = time.monotonic() - self._began
        if self._latest is None:
            return Progress(elapsed=elapsed, **told)
        return evolve(self._latest, elapsed=elapsed, rate=None, eta=None, **told)
