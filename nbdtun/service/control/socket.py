"""
The control socket of a running process, over which other commands of the same user reach it.

It is ``control/NAME.sock`` below the base of the run directories, in a directory of this user's own with mode 0700, and not in the
process's run directory, which may belong to QEMU's user. It is removed at the end; the next process that opens one removes the sockets of
killed processes. :mod:`.commands` has what is asked over it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.internet.protocol import Factory

from nbdtun.config.endpoints import check_socket_path
from nbdtun.deferreds import stopped
from nbdtun.dialogue import Dialogue
from nbdtun.errors import ConfigError, MigrationError, NotMigratable
from nbdtun.logs import make_logger
from nbdtun.ownership.directories import locked, make_directories, make_if_missing, remove_empty
from nbdtun.ownership.listening import Listener, clear_stale
from nbdtun.ownership.reach import peer, reach
from nbdtun.process import Reactor
from nbdtun.service.control.commands import LOCAL, Cancel, Reload, Replace, Serve, Set, Status, Yield, changed_vms
from nbdtun.service.control.names import SUFFIX, Name, directory
from nbdtun.service.control.subject import Controllable, Serving, Yielding
from nbdtun.service.local import ownership
from nbdtun.service.local.base import base_of
from nbdtun.service.local.listening import LocalEndpoint
from nbdtun.versions import Agreed

MAX_CLIENTS = 16
#: Seconds for the clients to read their last answer.
FAREWELL_SECONDS = 2.0


class _Client(Dialogue):
    """One connection to the socket."""

    log = make_logger()
    failed = MigrationError
    channel = "control socket"
    other = "another process"

    def __init__(self, reactor: IReactorTime, subject: Controllable, over: Callable[[], Deferred[None]]) -> None:
        super().__init__(reactor)
        self.here = f"in process {os.getpid()}"  # not before: twistd forks
        self._subject = subject
        self._over = over

    @Status.responder
    def status(self, **offer: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            agreed = _agreed(offer)
            return _answer(agreed, await self._subject.survey())

        return self.respond(work)

    @Set.responder
    def change(self, bandwidth: int | None = None, downtime: int | None = None, switchover: int | None = None, **offer: Any) -> Any:
        async def work() -> dict[str, Any]:
            agreed = _agreed(offer)
            found = await self._subject.change(bandwidth, downtime, switchover)
            return _answer(agreed, {**self._subject.report(), **(found or {})})

        return self.respond(work)

    @Yield.responder
    def give_way(self, bandwidth: int, **offer: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            agreed = _agreed(offer)
            if not isinstance(self._subject, Yielding):
                raise MigrationError(f"{self._subject.report()['name']}: it is no migration")
            await self._subject.give_way(bandwidth)
            return _answer(agreed, self._subject.report())

        return self.respond(work)

    @Serve.responder
    def serve(self, vms: dict[str, Any], **offer: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            agreed = _agreed(offer)
            found = await self._daemon().serve(changed_vms(vms))
            return _answer(agreed, {**self._subject.report(), **found})

        return self.respond(work)

    @Reload.responder
    def reload(self, **offer: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            agreed = _agreed(offer)
            found = await self._daemon().reload()
            return _answer(agreed, {**self._subject.report(), **found})

        return self.respond(work)

    @Replace.responder
    def replace(self, keep: int | None = None, **offer: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            agreed = _agreed(offer)
            found = await self._daemon().replace(keep)
            return _answer(agreed, {**self._subject.report(), **found})

        return self.respond(work)

    @Cancel.responder
    def cancel(self, **offer: Any) -> Deferred[Any]:
        async def work() -> dict[str, Any]:
            agreed = _agreed(offer)
            self._subject.end()
            ending = self._over()
            self.when_lost().addCallback(lambda _: ending.cancel())
            with suppress(CancelledError):  # nobody waits for the answer any more
                await ending
            return _answer(agreed, self._subject.report())

        return self.respond(work)

    def _daemon(self) -> Serving:
        if not isinstance(self._subject, Serving):
            raise MigrationError(f"{self._subject.report()['name']}: this is a migration, and only a daemon can do that")
        return self._subject


def _agreed(offer: Mapping[str, Any]) -> Agreed:
    return LOCAL.agree(**offer, other="the command", here=f"process {os.getpid()}")


def _answer(agreed: Agreed, report: Mapping[str, Any]) -> dict[str, Any]:
    return agreed.fields() | {"report": report}


class _Clients(Factory):  # before 25, Twisted has no Factory[Any] when it runs
    """Makes clients, as long as there are not too many."""

    noisy = False

    def __init__(self, make: Callable[[], _Client | None]) -> None:
        self._make = make

    def buildProtocol(self, _: object) -> _Client | None:
        return self._make()


class ControlSocket:
    """The control socket ``name`` of this process, below the base directory for ``run_dir``. ``subject`` answers."""

    log = make_logger()

    def __init__(self, reactor: Reactor, run_dir: str | None, name: Name, subject: Controllable) -> None:
        self._reactor = reactor
        self._base = base_of(run_dir)
        self._name = name
        self._subject = subject
        self._port: IListeningPort | None = None
        self._clients: list[_Client] = []
        self._waiting: list[Deferred[None]] = []

    def __repr__(self) -> str:
        return f"<ControlSocket {self._name.text} {'open' if self._port else 'closed'}, {len(self._clients)} clients>"

    async def open(self) -> None:
        """
        Listen.

        :raise NotMigratable: another process has this socket.
        :raise ConfigError: the socket cannot be made.
        """
        try:
            path = check_socket_path(self._name.path(self._base))
        except ConfigError as error:
            raise ConfigError(f"{error}", "choose another with --run-dir") from None
        with _made(self._base) as folder:
            sweep(folder)
            refuse_others(self._base, self._name)
            endpoint = LocalEndpoint(Listener(self._reactor, path, 0o600), f"unix:{path}")
            self._port = await endpoint.listen(_Clients(self._client))

    def _client(self) -> _Client | None:
        if len(self._clients) >= MAX_CLIENTS:
            return None
        client = _Client(self._reactor, self._subject, self._over)
        self._clients.append(client)
        client.when_lost().addCallback(lambda _: self._clients.remove(client))
        return client

    def _over(self) -> Deferred[None]:
        """Fires when all has ended; forgotten when it is cancelled."""
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    async def close(self) -> None:
        """Stop listening, and answer the clients that wait for the end; takes a few seconds at most."""
        if self._port is None:
            return
        with suppress(OSError), locked(str(self._base)):
            await self._stop()
            remove_empty(str(directory(self._base)))  # refused while there are others
        await self._stop()  # where another process keeps it locked
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)
        gone = [client.when_lost() for client in self._clients]
        for client in tuple(self._clients):
            client.hang_up()
        for one_gone in gone:
            one_gone.addTimeout(FAREWELL_SECONDS, self._reactor).addErrback(lambda _: None)
            await one_gone

    async def _stop(self) -> None:
        port, self._port = self._port, None
        if port is not None:
            await stopped(port)


def names(base: Path) -> list[Name]:
    """The names of all control sockets that a process listens on."""
    try:
        trustees(base)
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise ConfigError(f"run directory {directory(base)}: {failure.strerror}; choose another with --run-dir") from failure
    sweep(directory(base))
    return [Name.of_file(path) for path in sorted(directory(base).glob(f"*@*{SUFFIX}"))]


def refuse_second(run_dir: str | None, name: Name) -> None:
    """
    Refuse a VM that another process of this user is migrating.

    :raise NotMigratable: one is; with its process id.
    """
    base = base_of(run_dir)
    for path in name.present(base):
        with suppress(ConfigError, OSError):
            clear_stale(str(path))
    refuse_others(base, name)


def refuse_others(base: Path, name: Name) -> None:
    """Refuse a VM for which there is a control socket, under whatever name (:exc:`NotMigratable`)."""
    if others := name.present(base):
        other = Name.of_file(others[0]).vm
        known_as = "" if name.vm.startswith(other) else f", as {other}"
        what = f"{name.text} is being migrated by another process{_pid_of(str(others[0]))}{known_as}"
        raise NotMigratable(what, "`nbdtun status` shows it, `nbdtun cancel` ends it")


def _pid_of(path: str) -> str:
    try:
        with reach(path) as sock:
            found = peer(sock)
    except OSError:
        return ""
    return f" (pid {found.pid})" if found else ""


def sweep(folder: Path) -> None:
    """Remove the sockets that no process listens on any more."""
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(ConfigError, OSError):
            clear_stale(str(path))


def trustees(base: Path) -> frozenset[int]:
    """
    The users that may answer at the control sockets below ``base``: root and this user; for root, the directory's owner too.

    :raise ConfigError: it is not this user's alone, or another user could replace it; root may use any user's.
    :raise OSError: it cannot be read.
    """
    folder = directory(base)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or os.geteuid() not in (0, found.st_uid):
        raise ConfigError(f"{folder}: it must be this user's own directory with mode 0700; choose another with --run-dir")
    try:
        ownership.check(base, (found.st_uid,))
    except ConfigError as error:
        raise ConfigError(str(error), "choose another with --run-dir") from None
    return frozenset({0, os.geteuid(), found.st_uid})


@contextmanager
def _made(base: Path) -> Iterator[Path]:
    """Make the directory for control sockets, and lock it: no other process adds or removes one."""
    folder = directory(base)
    try:
        ownership.check(base)
        make_directories(str(base))
        with locked(str(base)) as descriptor:
            os.close(make_if_missing(descriptor, folder.name))
            trustees(base)
            yield folder
    except OSError as failure:
        raise ConfigError(f"run directory {folder}: {failure.strerror}; choose another with --run-dir") from failure
