"""
Sockets that we listen on. Each appears under its name already listening, with its mode and owner, and never replaces another file.

It is bound in a directory of ours beside its place, which no other user can enter. It gets its mode and owner there, and is renamed into
place. Other users of the directory can at most make the rename fail. The kernel (``ss -xl``, /proc/net/unix) shows the name by which it was
bound: /proc/self/fd/N/ and its last part.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import frozen
from twisted.internet import tcp, unix
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer

from nbdtun.errors import ConfigError
from nbdtun.ownership.directories import make_private
from nbdtun.ownership.labels import labelled
from nbdtun.ownership.way import check_length, open_directory
from nbdtun.process import Reactor

#: The default for connections that wait to be accepted; the same as Twisted's.
BACKLOG = 50

_PREFIX = ".nbdtun-"
_RENAME_NOREPLACE = 1
_rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)


@frozen
class Held:
    """A listening socket: ``name`` in the directory of the descriptor ``directory``; ``file`` has its device and inode."""

    sock: socket.socket
    directory: int
    name: str
    file: tuple[int, int]

    def remove(self) -> None:
        """Remove its name, if that still belongs to this socket."""
        with contextlib.suppress(OSError):  # already gone, or we may no longer change the directory
            found = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
            if (found.st_dev, found.st_ino) == self.file:
                os.unlink(self.name, dir_fd=self.directory)
        os.close(self.directory)


@implementer(IStreamServerEndpoint)
@frozen
class Listener:
    """
    Listens on the UNIX socket ``path``, which gets ``mode`` and, if there is one, ``owner``: uid and gid, -1 for unchanged.

    Where SELinux is on, it gets ``label``, if that is not empty.
    """

    reactor: Reactor
    path: str
    mode: int
    owner: tuple[int, int] | None = None
    backlog: int = BACKLOG
    label: str = ""

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen. The Deferred fails with :exc:`ConfigError` if the name is taken, and with :exc:`OSError` for the system's reasons."""
        return execute(self._listen, protocolFactory)

    def _listen(self, factory: IProtocolFactory) -> IListeningPort:
        port = _Port(hold(self.path, self.mode, self.owner, self.backlog, self.label), self.path, factory, self.reactor)
        port.startListening()
        return port

    def go_on(self, sock: socket.socket, factory: IProtocolFactory) -> IListeningPort:
        """
        Go on with a socket that another process of ours has made there.

        :raise OSError: it is not there any more.
        """
        directory = open_directory(os.path.dirname(self.path))
        name = os.path.basename(self.path)
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError:
            os.close(directory)
            sock.close()
            raise
        port = _Port(Held(sock, directory, name, (found.st_dev, found.st_ino)), self.path, factory, self.reactor)
        port.startListening()
        return port


class _Port(unix.Port):
    """Twisted's port, but it never touches a file by path, neither at its start nor at its end."""

    socket: socket.socket
    numberAccepts: int

    def __init__(self, held: Held, path: str, factory: IProtocolFactory, reactor: Reactor) -> None:
        super().__init__(os.fsencode(path), factory, reactor=reactor)
        self._held = held
        self._path = path
        self.keeps_name = False  # another process listens there, too

    def startListening(self) -> None:
        """Start accepting on the held socket."""
        tcp._reservedFD.reserve()  # for when no other is left; all of Twisted's ports do it
        log.msg(f"{self._getLogPrefix(self.factory)} starting on {self._path!r}")
        assert self.factory is not None
        self.factory.doStart()
        self.connected = True
        self.socket = self._held.sock
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and remove its name."""
        if self.keeps_name:
            os.close(self._held.directory)
        else:
            self._held.remove()
        super(unix.Port, self).connectionLost(reason)


def hold(path: str, mode: int, owner: tuple[int, int] | None = None, backlog: int = BACKLOG, label: str = "") -> Held:
    """
    Make the UNIX socket ``path`` and listen on it; a stale socket of a dead process is replaced.

    :raise ConfigError: another process is listening there, or it is not a socket.
    :raise OSError: it cannot be made.
    """
    check_length(path)
    name = os.path.basename(path)
    with labelled(label):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    directory = -1
    try:
        directory = open_directory(os.path.dirname(path))
        _clear_stale(directory, path)
        with _staging(directory, name) as staging:
            sock.bind(f"/proc/self/fd/{staging}/{name}")
            os.chmod(name, mode, dir_fd=staging)
            _give(name, staging, owner)
            sock.listen(backlog)
            found = os.stat(name, dir_fd=staging, follow_symlinks=False)
            _put(staging, directory, path)
    except BaseException:
        sock.close()
        if directory >= 0:
            os.close(directory)
        raise
    return Held(sock, directory, name, (found.st_dev, found.st_ino))


@contextmanager
def _staging(directory: int, name: str) -> Iterator[int]:
    """A temporary directory of ours in ``directory``, so that the rename stays within one file system."""
    folder, staging = make_private(directory, _PREFIX)
    try:
        yield staging
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=staging)
        os.close(staging)
        with contextlib.suppress(OSError):  # another process moved it away; it is empty
            os.rmdir(folder, dir_fd=directory)


def _give(name: str, staging: int, owner: tuple[int, int] | None) -> None:
    if owner is not None:
        try:
            os.chown(name, *owner, dir_fd=staging, follow_symlinks=False)
        except OSError as failure:
            raise OSError(failure.errno, f"its owner cannot be changed: {failure.strerror}") from failure


def _put(staging: int, directory: int, path: str) -> None:
    """Rename the socket into place, unless the name was taken meanwhile."""
    name = os.fsencode(os.path.basename(path))
    if _rename is not None and _rename(staging, name, directory, name, _RENAME_NOREPLACE) == 0:
        return
    failed = ctypes.get_errno() if _rename is not None else errno.ENOSYS
    if failed == errno.EEXIST:
        raise ConfigError(f"{path}: another process has just created it")
    if failed not in (errno.ENOSYS, errno.EINVAL):  # not supported by the C library or file system; the name was free a moment ago
        raise OSError(failed, os.strerror(failed))
    os.rename(name, name, src_dir_fd=staging, dst_dir_fd=directory)


def clear_stale(path: str) -> None:
    """
    Remove the file ``path`` if it is a socket on which no process listens any more.

    A datagram socket cannot connect to a stream socket, but the error differs for a live one (EPROTOTYPE) and a dead one (ECONNREFUSED).
    A listening process notices nothing (unix_find_bsd() in Linux's net/unix/af_unix.c).

    :raise ConfigError: another process is listening there, or it is not a socket.
    :raise OSError: its directory cannot be reached.
    """
    directory = open_directory(os.path.dirname(path))
    try:
        _clear_stale(directory, path)
    finally:
        os.close(directory)


def _clear_stale(directory: int, path: str) -> None:
    name = os.path.basename(path)
    try:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return  # not there, or not visible to us; the attempt to listen will report it
    try:
        if not stat.S_ISSOCK(os.fstat(found).st_mode):
            raise ConfigError(f"{path}: it exists and is not a socket")
        if not _is_dead(found):
            raise ConfigError(f"{path}: another process is already listening there")
    finally:
        os.close(found)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)


def _is_dead(found: int) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(f"/proc/self/fd/{found}")
        except OSError as failure:
            return isinstance(failure, ConnectionRefusedError)
    return False
