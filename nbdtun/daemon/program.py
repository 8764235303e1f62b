"""
The daemon's program, started a second time to take the first one's place: the same command line, the files as they are now.

``sys.orig_argv`` is the command line with which Python itself was started, so this holds for an installed command, a zipapp and
``python -m``. The new process is of the same unit: systemd takes the word of the main process for which one is the main process from now on
(``MAINPID=`` in sd_notify(3)).
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nbdtun.errors import ConfigError, NbdtunError
from nbdtun.service.local.heritage import bequeath, inherit

if TYPE_CHECKING:
    from nbdtun.daemon.service import Daemon
    from nbdtun.service.local.listening import ListeningService
    from nbdtun.service.succession.place import Replaceable
    from nbdtun.service.succession.succession import Succession


#: Modules that are otherwise imported with the first connection.
LATE: Final = (
    "cryptography.exceptions",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "cryptography.x509.oid",
)


def load_all() -> None:
    """
    Import now what would be imported later: a program that was replaced goes on for hours, beside the next release's files.

    ``tests/integration/test_succession.py`` notes each import of such a program.
    """
    for name in LATE:
        import_module(name)


#: The process in between: it starts another one, and tells its id.
_BETWEEN: Final = """
import os, sys
telling = int(sys.argv[1])
pid = os.fork()
if pid:
    os.write(telling, b"%d" % pid)
    os._exit(0)
os.close(telling)
try:
    os.execv(sys.argv[2], sys.argv[2:])
except OSError as error:
    sys.exit(f"{sys.argv[2]}: {error.strerror}")
"""


def command_line() -> list[str]:
    """The command line that starts this program again."""
    return [sys.executable, *sys.orig_argv[1:]]


class Started:
    """A process that was started; it is nobody's child here, so it is told from others by a pidfd (pidfd_open(2), Linux 5.3)."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._process = os.pidfd_open(pid)

    def __repr__(self) -> str:
        return f"<Started {self.pid}>"

    def kill(self) -> None:
        """End it, if it still runs."""
        with suppress(OSError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def __del__(self) -> None:
        os.close(self._process)


def start(environment: Mapping[str, str], link: socket.socket, listeners: Mapping[str, int]) -> Started:
    """
    Start it, with these descriptors, and ``environment`` beside our own.

    A process in between ends at once, so that the new one is a child of the service manager. systemd does not wait for the end of a main
    process that is none of its own: it would be killed at a stop (``main_pid_alien`` in systemd's src/core/kill.c).

    :raise OSError: it cannot be started.
    """
    told = {**os.environ, **environment, **bequeath(link.fileno(), listeners)}
    reading, writing = os.pipe2(os.O_CLOEXEC)
    with open(reading, "rb") as pid:
        try:
            words = [sys.executable, "-I", "-S", "-c", _BETWEEN, f"{writing}", *command_line()]
            descriptors = (writing, link.fileno(), *listeners.values())
            between = subprocess.Popen(words, env=told, pass_fds=descriptors, stdin=subprocess.DEVNULL)
        finally:
            os.close(writing)
        number = pid.read()
    between.wait()
    if not number:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return Started(int(number))


def predecessor(give_up: Callable[[ConfigError], None]) -> socket.socket | None:
    """The link to the process whose place this one takes; None if there is none."""
    try:
        return inherit(os.environ)
    except ConfigError as error:
        give_up(error)
        raise


class OwnProgram:
    """
    The program of a daemon that joins: see :class:`~nbdtun.service.succession.succession.Surroundings`. ``end`` ends it with an error;
    it ``succeeds`` another.
    """

    def __init__(self, end: Callable[[NbdtunError], None], *, succeeds: bool = False) -> None:
        self.daemon: Daemon | None = None
        self.fail = end
        self._succeeds = succeeds

    def join(self, daemon: Daemon) -> None:
        """It is that of ``daemon``. Where it succeeds another, a service manager does not hear it until that one has said so."""
        self.daemon = daemon
        load_all()
        if self._succeeds:
            daemon.manager.repeat()

    def start(self, link: socket.socket, listeners: Mapping[str, int]) -> Started:
        """Start it again."""
        return start(self.daemon.manager.environment if self.daemon else {}, link, listeners)

    def main(self, pid: int) -> None:
        """Tell the service manager."""
        if self.daemon is not None:
            self.daemon.manager.main(pid)

    def leave(self, at_once: bool = False) -> None:
        """Stop, as at a signal, or as at a second one."""
        if self.daemon is not None:
            self.daemon.end(at_once=at_once)


def place(
    reactor: Any, generation: Replaceable, listeners: Callable[[], Sequence[ListeningService]], link: socket.socket | None
) -> tuple[OwnProgram, Succession]:
    """The place of this process among its daemon's: its program, which must be told its daemon, and the service."""
    from nbdtun.daemon.service import leave, stop
    from nbdtun.service.succession.place import Surroundings
    from nbdtun.service.succession.succession import Succession

    program = OwnProgram(partial(leave, reactor), succeeds=link is not None)
    around = Surroundings(program.start, program.main, program.leave, partial(stop, reactor), program.fail)
    return program, Succession(reactor, generation, listeners, around, link)
