"""
Connections to a libvirt, and the only use of its binding for Python, which is loaded with the first of them.

libvirt's calls block, some for minutes. So each connection has a thread, in which its calls are made one after the other, and a call can
have a thread of its own. A call cannot be interrupted: one that is late is given up, and its thread waits on alone. All threads are daemon
threads, so that none of them keeps the process from ending.

libvirt's events and keepalive need a loop, which one more thread runs for all connections. libvirt also writes each error to stderr; a
handler of ours stops that.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Final, Self, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from nbdtun.deferreds import with_timeout
from nbdtun.errors import LibvirtError
from nbdtun.process import Reactor

T = TypeVar("T")

#: Seconds that a connection may take, and a call, unless it says otherwise.
OPEN_SECONDS: Final = 15.0
CALL_SECONDS: Final = 60.0

#: Seconds between keepalive messages, and how many may stay unanswered: libvirt's own defaults. They end calls to a libvirtd that hangs.
KEEPALIVE: Final = (5, 5)

#: libvirt's numbers of errors (virErrorNumber in libvirt/virterror.h).
NO_SUPPORT, NO_DOMAIN, NO_NETWORK, NO_VOLUME = 3, 42, 43, 50
OPERATION_INVALID, OPERATION_UNSUPPORTED = 55, 84
_NOT_ADMITTED = frozenset({45, 79, 88, 89, 94})  # the last but one: what polkit says through D-Bus

_INSTALL = "install it: pip install 'nbdtun[libvirt]', which needs Debian's libvirt-dev, or Debian's python3-libvirt"
_ACCESS = "run nbdtun as root, or as a user of the group libvirt"
_START = "start it: systemctl start libvirtd.socket, or virtqemud.socket; or name its socket: qemu+unix:///system?socket=PATH"


@cache
def binding() -> Any:
    """
    libvirt's binding for Python; its events have a loop from now on.

    :raise LibvirtError: it is not installed.
    """
    try:
        import libvirt
    except ImportError as missing:
        raise LibvirtError(f"libvirt's binding for Python cannot be loaded: {missing}", _INSTALL) from None
    libvirt.registerErrorHandler(lambda context, error: None, None)
    libvirt.virEventRegisterDefaultImpl()
    threading.Thread(target=_run_events, args=(libvirt,), name="nbdtun-libvirt-events", daemon=True).start()
    return libvirt


def _run_events(libvirt: Any) -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:  # it could not wait: too many open files
            time.sleep(1)


@contextmanager
def asking() -> Iterator[Any]:
    """Calls of libvirt, whose errors become :exc:`~nbdtun.errors.LibvirtError`; yields the binding."""
    libvirt = binding()
    try:
        yield libvirt
    except libvirt.libvirtError as error:
        raise LibvirtError(error.get_error_message() or str(error), number=error.get_error_code() or 0) from None


class Libvirt:
    """A connection to the libvirt of ``uri``, once it is :meth:`open`."""

    def __init__(self, reactor: Reactor, uri: str) -> None:
        self.uri = uri
        self._reactor = reactor
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._connection: Any = None
        self._late: set[object] = set()

    def __repr__(self) -> str:
        return f"<Libvirt {self.uri} {'open' if self._connection is not None else 'closed'}>"

    async def open(self) -> Self:
        """
        Connect.

        :raise LibvirtError: its binding is missing, its daemon does not run, does not answer, or does not admit this user.
        """
        threading.Thread(target=_run, args=(self._work,), name="nbdtun-libvirt", daemon=True).start()
        try:
            self._connection = await self._limited(OPEN_SECONDS, self._in_order(lambda: _open(self.uri)))
        except LibvirtError as error:
            self._work.put(None)
            named = error.what if self.uri in error.what else f"libvirt at {self.uri}: {error.what}"
            raise LibvirtError(named, error.remedy or _remedy(error), error.number) from None
        return self

    async def do(self, work: Callable[[Any], T], seconds: float = CALL_SECONDS) -> T:
        """
        Do ``work`` with the virConnect, in the connection's thread; it may call libvirt as often as it needs.

        :raise LibvirtError: libvirt refused; or it has not answered for so many ``seconds``, and may or may not have done it.
        """
        if self._late:
            raise LibvirtError(f"libvirt at {self.uri} still does not answer an earlier call")
        return await self._limited(seconds, self._in_order(lambda: work(self._open)))

    def apart(self, work: Callable[[Any], T]) -> Deferred[T]:
        """Do ``work`` with the virConnect in a thread of its own, for as long as it takes: for a call that blocks while others go on."""
        done: Deferred[T] = Deferred()
        reply = _Reply(self._reactor, done, lambda: work(self._open))
        threading.Thread(target=reply.run, name="nbdtun-libvirt-apart", daemon=True).start()
        return done

    def close(self) -> None:
        """End the connection, after the calls under way; safe to repeat."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._work.put(lambda: _close(connection))
            self._work.put(None)

    @property
    def _open(self) -> Any:
        if self._connection is None:
            raise LibvirtError(f"the connection to libvirt at {self.uri} is closed")
        return self._connection

    def _in_order(self, work: Callable[[], T]) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        self._work.put(_Reply(self._reactor, done, work).run)
        return done

    async def _limited(self, seconds: float, done: Deferred[T]) -> T:
        """Wait for a result; a call that is late is remembered until it ends."""
        waiting: Deferred[T] = Deferred()
        call = object()

        def ended(result: Any) -> None:
            self._late.discard(call)
            if not waiting.called:
                waiting.callback(result)

        def late() -> LibvirtError:
            self._late.add(call)
            return LibvirtError(f"libvirt at {self.uri} has not answered for {seconds:g} s")

        done.addBoth(ended)
        return await with_timeout(self._reactor, seconds, waiting, late)


class _Reply:
    """Some work in a thread, whose result arrives in the reactor's."""

    def __init__(self, reactor: Reactor, done: Deferred[Any], work: Callable[[], Any]) -> None:
        self._reactor = cast("IReactorFromThreads", reactor)
        self._done = done
        self._work = work

    def run(self) -> None:
        """Do it, in the thread that calls this."""
        try:
            with asking():
                result = self._work()
        except Exception as error:  # whatever it is, it belongs to the asker: one lost in this thread would leave it waiting for ever
            self._reactor.callFromThread(self._done.errback, error)
        else:
            self._reactor.callFromThread(self._done.callback, result)


def _run(work: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    """A connection's thread."""
    while (each := work.get()) is not None:
        each()


def _open(uri: str) -> Any:
    libvirt = binding()
    connection = libvirt.open(uri)
    with suppress(libvirt.libvirtError):  # a driver within this process has none
        connection.setKeepAlive(*KEEPALIVE)
    return connection


def _close(connection: Any) -> None:
    with suppress(LibvirtError), asking():  # it may have been lost before
        connection.close()


def _remedy(error: LibvirtError) -> str:
    """What an operator can do about a connection that fails: libvirt's texts have the operating system's reasons."""
    if error.number in _NOT_ADMITTED or "Permission denied" in error.what or "system bus" in error.what:
        return _ACCESS
    return _START if "connect socket" in error.what else ""
