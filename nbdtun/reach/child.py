"""
A child process that is spoken to over one socket, its standard input and output. The end of what it says as errors is kept.

A child is ended with its socket, or by :meth:`Child.end`. Its end is seen by a pidfd (pidfd_open(2), Linux 5.3): SIGCHLD is the
application's.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from nbdtun.deferreds import end_of, with_timeout
from nbdtun.errors import ReachError, printable
from nbdtun.process import Reactor

#: The lines of errors that are kept, and the most characters of each.
LINES: Final = 40
LONGEST: Final = 500

#: Seconds that a child has to end by itself once it is told to.
GRACE: Final = 2.0


@implementer(IReadDescriptor)
class _Watched:
    """Calls ``readable`` whenever ``descriptor`` can be read; it is closed by :meth:`close`."""

    def __init__(self, reactor: Reactor, descriptor: int, readable: Callable[[], object]) -> None:
        self._reactor = reactor
        self._descriptor = descriptor
        self._readable = readable
        reactor.addReader(self)

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._descriptor

    def doRead(self) -> None:
        """Pass it on."""
        self._readable()

    def connectionLost(self, reason: Any) -> None:
        """Close: the reactor ends, or sees a hang-up."""
        self.close()

    def logPrefix(self) -> str:
        """Name it in a log."""
        return "child"

    def close(self) -> None:
        """Watch no longer; safe to repeat."""
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1


class Child:
    """
    Runs the command ``argv``, of which ``sock`` is the other end.

    One that is ``apart`` has its own process group: Ctrl-C does not reach it, nor can it ask at the terminal. Another stays in ours, and
    ignores what Ctrl-C sends except while it asks, as ssh(1) does with a SIGINT that is ignored when it starts.

    :raise ReachError: there is no such command.
    """

    def __init__(self, reactor: Reactor, argv: Sequence[str], *, apart: bool) -> None:
        self._reactor = reactor
        self._said: deque[str] = deque(maxlen=LINES)
        self._rest = b""
        self._over: Deferred[int] = Deferred()
        self.sock, theirs = socket.socketpair()
        errors, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(writing, True)
        try:
            with theirs:
                self._process = _spawn(argv, theirs, writing, apart=apart)
        except BaseException:
            self.sock.close()
            os.close(errors)
            raise
        finally:
            os.close(writing)
        self.sock.setblocking(False)
        self._errors = _Watched(reactor, errors, self._listen)
        self._end = _Watched(reactor, os.pidfd_open(self._process.pid), self._ended)

    def __repr__(self) -> str:
        return f"<Child {self._process.pid} {'over' if self.status is not None else 'running'}>"

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Its exit status, as :class:`subprocess.Popen` has it; None while it runs."""
        return self._process.returncode

    @property
    def said(self) -> list[str]:
        """The last lines of its standard error."""
        return [*self._said, *([_line(self._rest)] if self._rest.strip() else [])]

    def when_over(self) -> Deferred[None]:
        """A Deferred of the caller's own that fires when it has ended."""
        return end_of(self._over)

    async def end(self) -> None:
        """End it, and wait for that."""
        self.sock.close()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.status is not None:
                return
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            with suppress(TimeoutError):
                await with_timeout(self._reactor, GRACE, self.when_over(), TimeoutError)

    def _listen(self) -> None:
        """Keep the end of what it says."""
        try:
            data = os.read(self._errors.fileno(), 16 * 1024)
        except BlockingIOError:
            return
        if not data:
            self._errors.close()
            return
        *lines, self._rest = (self._rest[-LONGEST:] + data).split(b"\n")
        self._said.extend(filter(None, map(_line, lines)))

    def _ended(self) -> None:
        if self._process.poll() is None:
            return
        self._end.close()
        for _ in range(64):  # what it said last; another process may still hold the pipe, and say more
            if self._errors.fileno() < 0:
                break
            before = len(self._said), self._rest
            self._listen()
            if (len(self._said), self._rest) == before:
                break
        self._errors.close()
        self._over.callback(self._process.returncode)


def _spawn(argv: Sequence[str], theirs: socket.socket, errors: int, *, apart: bool) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            argv,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=errors,
            process_group=0 if apart else None,
            preexec_fn=None if apart else _ignore,  # in a process without threads yet
        )
    except FileNotFoundError:
        raise ReachError(f"there is no command {argv[0]} here", "install it: openssh-client has ssh") from None
    except OSError as error:
        raise ReachError(f"{argv[0]} cannot be started: {error.strerror}") from error


def _ignore() -> None:
    """ssh(1) keeps signals ignored that are ignored when it starts (clientloop.c), but while it asks for a password."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTSTP):
        signal.signal(number, signal.SIG_IGN)


def _line(data: bytes) -> str:
    return printable(data.decode("utf-8", "replace"), LONGEST)
