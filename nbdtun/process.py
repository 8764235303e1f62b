"""
The process itself: its reactor, the signals that end it, its clock, its core dumps, and how many files it may have open.

Twisted uses wall-clock time (``time.time``, in twisted/python/runtime.py), which NTP and administrators set. When it is set forward, every
time limit expires at once, and links count as silent. When it is set back, everything waits that much longer.

A channel needs two open files, its link and its local socket. Systems start daemons with a soft limit of 1024, for programs that use
select(2), and with a much higher hard limit for all others (systemd.exec(5), LimitNOFILE=).
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory, IReactorTime, IReadDescriptor, IWriteDescriptor
from twisted.internet.protocol import Factory
from zope.interface import implementer

#: The signals for an orderly end: from Ctrl-C, from a service manager, from a terminal that was closed.
ENDING: Final = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))

#: Files that a daemon has open besides channels and new connections: its log, listeners, monitors, those of Python and the reactor.
OWN = 256

#: linux/prctl.h
_PR_SET_DUMPABLE = 4


@implementer(IReactorTime)
class Reactor(Protocol):
    """
    A reactor, as far as nbdtun uses it and as Twisted's own types know ``twisted.internet.reactor``: its clock and its descriptors.

    Every reactor also provides ``IReactorFromThreads`` and ``IReactorSocket``, which those types leave out: the one is cast to where it is
    used, for the other there is :func:`adopt`. Code that only needs the clock takes an ``IReactorTime``.
    """

    def seconds(self) -> float:
        """What its clock says."""

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> IDelayedCall:
        """Call ``callable`` in ``delay`` seconds."""

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """The calls that it has yet to make."""

    def addReader(self, reader: IReadDescriptor) -> None:
        """Tell ``reader`` when it can read."""

    def removeReader(self, reader: IReadDescriptor) -> None:
        """Tell ``reader`` no more."""

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """Tell ``writer`` when it can write."""

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """Tell ``writer`` no more."""


def beside(work: str, title: str, descriptor: int, ahead: str = "") -> list[str]:
    """
    Return the command line of another process of this program: it calls ``work``, a function by its whole name, with ``descriptor``.

    It finds modules where this one does. ``title`` tells operators who it is; ``ahead`` is Python that it runs first.
    """
    module, _, function = work.rpartition(".")
    program = f"{ahead}import sys\nsys.path[:] = sys.argv[3:]\nfrom {module} import {function}\n{function}(int(sys.argv[2]))\n"
    return [sys.executable, "-c", program, title, f"{descriptor}", *sys.path]


def adopt(reactor: Reactor, sock: socket.socket, factory: IProtocolFactory) -> None:
    """Connect a protocol of ``factory`` to the UNIX socket ``sock``, of which ``reactor`` takes a descriptor of its own."""
    adopting: Any = reactor  # an IReactorSocket, which Twisted types as taking no other than a ServerFactory
    adopting.adoptStreamConnection(sock.fileno(), socket.AF_UNIX, factory)


def quiet_factory(make: Callable[[], IProtocol]) -> Factory[Any]:
    """Return a factory of protocols for sockets that are already connected; it logs nothing."""
    factory: Factory[Any] = Factory()
    factory.buildProtocol = lambda addr: make()  # type: ignore[method-assign]
    factory.noisy = False
    return factory


def steady(reactor: IReactorTime) -> None:
    """
    Make ``reactor`` use the monotonic clock from now on. Only for a process that is nbdtun's own, before any timer is set.

    A reactor with its own clock, such as asyncio's, keeps it; so does one that already has timers.
    """
    if reactor.seconds is time.time and not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic  # type: ignore[method-assign]  # Twisted's reactors have it as an attribute


def settle_in(reactor: IReactorTime) -> None:
    """Make this process one of nbdtun's own: with a steady clock, and without core dumps."""
    steady(reactor)
    no_core_dumps()


def no_core_dumps() -> None:
    """
    Let this process leave no core dump, which would have keys and guests' memory in it. Only for a process that is nbdtun's own.

    The limit alone does not bind a program that takes core dumps (core(5)); a process that is not "dumpable" leaves none (prctl(2)). Other
    processes of its user cannot trace it, either.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def needed(channels: int, handshakes: int) -> int:
    """The files that a daemon with these limits may have open. New connections count twice: once for strangers, once for known sources."""
    return 2 * channels + 2 * handshakes + OWN


def make_room(count: int) -> int:
    """Raise the soft limit to ``count`` open files, as far as the hard limit allows; returns the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return soft if soft != resource.RLIM_INFINITY else count
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def gone(number: int) -> bool:
    """
    Whether nobody is at the other end of the descriptor ``number`` any more: of a terminal, or of a pipe that it writes to.

    poll(2) tells it without a write: POLLHUP for a terminal that was closed, POLLERR for a pipe without a reader.
    """
    watched = select.poll()
    watched.register(number, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in watched.poll(0))


def why_unconnected(failure: ConnectError | OSError) -> str:
    """Why there is no connection, as the C library has it: Twisted's texts say it twice, and Python's begin with its number."""
    if isinstance(failure, OSError):
        return failure.strerror or str(failure)
    return os.strerror(failure.osError) if isinstance(failure.osError, int) else str(failure)
