"""The control of a running daemon: its report, and its bandwidth limit, which can be changed at any time."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from nbdtun import __version__
from nbdtun.config import VM, DestinationSettings, SourceSettings, VMPattern
from nbdtun.config.values import parse_vm
from nbdtun.errors import ConfigError, MigrationError, NbdtunError
from nbdtun.logs import make_logger
from nbdtun.process import Reactor
from nbdtun.service.control.changes import Changes, Kept, Memory
from nbdtun.service.control.commands import NO_LIMIT, ChangedVMs
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import ControlSocket
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.runtime.throttle import Throttle
from nbdtun.tunnel.source.client import Source
from nbdtun.units import rate_text

#: The remedy where a program cannot be replaced.
REPLACEABLE = "restart it; those of `nbdtun dest` and `nbdtun source --forward` can be"


class Governed(Protocol):
    """A service with one end of a tunnel."""

    @property
    def settings(self) -> SourceSettings | DestinationSettings:
        """The settings that it was made from."""

    @property
    def tunnel(self) -> Source | Destination:
        """Its end of the tunnel."""

    async def survey(self) -> dict[str, Any]:
        """What it serves, and what is under way."""

    def serve(self, add: Iterable[VM | VMPattern], remove: Iterable[str]) -> list[str]:
        """Serve VMs besides, and some no more; return all that are served then (:exc:`NbdtunError`)."""


class Reloading(Protocol):
    """Reads a daemon's configuration file again."""

    @property
    def possible(self) -> bool:
        """Whether there is one."""

    async def __call__(self) -> dict[str, Any]:
        """Read it; what was ``taken`` of it, and what was ``left`` (:exc:`NbdtunError`)."""


class Subject(Protocol):
    """A process that the others of its daemon tell of changes."""

    @property
    def kept(self) -> Kept:
        """What was set by hand."""

    async def obey(self, changes: Changes) -> list[str]:
        """Change the same; a line, if it cannot."""

    def go_on(self, kept: Kept) -> None:
        """Go on with what was set by hand at the process before this one."""


class Processes(Protocol):
    """The processes of a daemon whose program can be replaced; they govern ``subject``."""

    subject: Subject | None

    @property
    def replaced_by(self) -> int | None:
        """The one that has taken over from this one."""

    async def replace(self, seconds: float | None) -> dict[str, Any]:
        """Let a new program take over; its process id, as ``successor`` (:exc:`NbdtunError`)."""

    async def tell(self, changes: Changes) -> list[str]:
        """Tell those before this one; a line for each that has not taken it."""


async def _nothing() -> dict[str, Any]:
    return {}


class DaemonControl(Service):
    """
    Controls the ``throttle`` of the daemon ``plugin``, over a control socket named by its process id, in the directory for ``run_dir``.
    ``survey`` returns what else its report has, ``serve`` changes its VMs, and ``reload`` reads its configuration file again. Where there
    may be other ``processes`` of the same daemon, all of them take what this one takes.

    A :class:`~nbdtun.service.control.subject.Controllable`. A daemon that cannot make a control socket logs a warning and works without.
    """

    log = make_logger()

    def __init__(
        self,
        reactor: Reactor,
        run_dir: str | None,
        plugin: str,
        throttle: Throttle,
        survey: Callable[[], Coroutine[Any, Any, dict[str, Any]]] = _nothing,
        serve: Callable[[Iterable[VM | VMPattern], Iterable[str]], list[str]] | None = None,
        reload: Reloading | None = None,
        processes: Processes | None = None,
    ) -> None:
        self._reactor = reactor
        self._run_dir = run_dir
        self._plugin = plugin
        self._throttle = throttle
        self._survey = survey
        self._serve = serve
        self._reload = reload
        self._processes = processes
        if processes is not None:
            processes.subject = self
        self._memory = Memory(self._rate)
        self._control: ControlSocket | None = None
        self._began: float | None = None

    @classmethod
    def of(
        cls,
        service: Governed,
        plugin: str,
        reload: Reloading | None = None,
        processes: Processes | None = None,
    ) -> DaemonControl:
        """
        Make the control through which `nbdtun status` and `nbdtun set @PID --bandwidth` reach ``service``; a process has one at most.

        An application with several services sets ``service.tunnel.runtime.throttle.rate`` itself: bytes per second, None for no limit.
        """
        runtime = service.tunnel.runtime
        run_dir = service.settings.tunnel.run_dir
        return cls(runtime.reactor, run_dir, plugin, runtime.throttle, service.survey, service.serve, reload, processes)

    def startService(self) -> None:
        """Listen."""
        super().startService()
        self._began = self._reactor.seconds()
        self._control = ControlSocket(self._reactor, self._run_dir, Name.of_daemon(os.getpid()), self)  # not before: twistd forks
        Deferred.fromCoroutine(self._control.open()).addErrback(self._ungoverned)

    def stopService(self) -> Deferred[None]:
        """Stop listening; fires when the socket is gone."""
        super().stopService()
        return succeed(None) if self._control is None else Deferred.fromCoroutine(self._control.close())

    def report(self) -> dict[str, Any]:
        """Its bandwidth limit, in bytes per second, None for no limit; and for how many seconds it has run."""
        rate = self._throttle.rate
        whose = {"kind": "daemon", "name": self._plugin, "pid": os.getpid(), "release": __version__}
        return {**whose, "uptime": self.uptime, "bandwidth": None if rate is None else int(rate)}

    @property
    def uptime(self) -> float:
        """Seconds since it was started."""
        now = self._reactor.seconds()
        return round(now - (now if self._began is None else self._began), 1)

    async def survey(self) -> dict[str, Any]:
        """The same, with what it serves and what is under way."""
        return {**self.report(), **await self._survey()}

    async def change(self, bandwidth: int | None, downtime: int | None, switchover: int | None = None) -> dict[str, Any]:
        """
        Change its bandwidth limit; return what processes of the daemon ``missed`` it, if any.

        :raise MigrationError: ``downtime`` or ``switchover`` was given, and a daemon pauses no guest; or its program was replaced.
        """
        for option, value in (("downtime", downtime), ("switchover", switchover)):
            if value is not None:
                raise MigrationError(f"{self._plugin}: --{option} applies to a migration, not to a daemon")
        self._refuse_if_replaced()
        if bandwidth is None:
            return {}
        self._limit(bandwidth)
        return await self._tell(Changes({"bandwidth": bandwidth}))

    async def serve(self, vms: ChangedVMs) -> dict[str, Any]:
        """
        Change the VMs that it serves, and return all that it ``serves`` then.

        :raise NbdtunError: it receives none, or not these; or its program was replaced.
        """
        if self._serve is None:
            raise MigrationError(f"{self._plugin}: it receives no VMs")
        self._refuse_if_replaced()
        serves = self._serve([parse_vm(text) for text in vms.add], vms.remove)
        return {"serves": serves, **await self._tell(Changes(vms=vms))}

    async def reload(self) -> dict[str, Any]:
        """
        Read the configuration file again; return what was ``taken`` of it, and what was ``left``.

        :raise NbdtunError: there is none, or it cannot be used; or its program was replaced.
        """
        if self._reload is None:
            raise MigrationError(f"{self._plugin}: it has no configuration file")
        self._refuse_if_replaced()
        return {**await self._read(self._reload), **await self._tell(Changes(file=True))}

    async def _read(self, reload: Reloading) -> dict[str, Any]:
        found = await reload()
        if "bandwidth" in found["taken"]:
            self._memory.configure(self._rate)
        return found

    @property
    def _rate(self) -> int:
        return NO_LIMIT if self._throttle.rate is None else int(self._throttle.rate)

    def _limit(self, bandwidth: int) -> None:
        self._throttle.rate = None if bandwidth == NO_LIMIT else bandwidth
        self.log.info("bandwidth is now {rate}", rate=rate_text(bandwidth) if bandwidth else "unlimited")

    def _refuse_if_replaced(self) -> None:
        by = None if self._processes is None else self._processes.replaced_by
        if by is not None:
            raise MigrationError(f"{self._plugin}: this program was replaced", f"ask @{by}")

    async def _tell(self, changes: Changes) -> dict[str, list[str]]:
        self._memory.set(changes)
        missed = [] if self._processes is None else await self._processes.tell(changes)
        return {"missed": missed} if missed else {}

    @property
    def kept(self) -> Kept:
        """What was set by hand and still holds, for the program that takes this one's place."""
        return self._memory.kept

    def go_on(self, kept: Kept) -> None:
        """Go on with what was set by hand at the program before this one."""
        changes = self._memory.changes_of(kept)
        self._memory.set(changes)
        self._take(changes)

    async def obey(self, changes: Changes) -> list[str]:
        """Take what the program after this one was told; return a line if that is not possible."""
        self._memory.set(changes)
        try:
            self._take(changes)
            if changes.file and self._reload is not None and self._reload.possible:
                await self._read(self._reload)
        except NbdtunError as error:
            return [f"process {os.getpid()}, which was replaced, has not taken it: {error.line}"]
        return []

    def _take(self, changes: Changes) -> None:
        if "bandwidth" in changes.limits:
            self._limit(changes.limits["bandwidth"])
        if self._serve is not None:
            for name in changes.vms.remove:
                with suppress(ConfigError):  # it is not served here
                    self._serve([], [name])
            if changes.vms.add:
                self._serve([parse_vm(text) for text in changes.vms.add], [])

    async def replace(self, seconds: float | None) -> dict[str, Any]:
        """
        Let a new program take over, and keep what is under way for at most so many ``seconds``; return its process as ``successor``.

        :raise NbdtunError: this program cannot be replaced, or the new one does not take over.
        """
        if self._processes is None:
            raise MigrationError(f"{self._plugin}: its program cannot be replaced while it runs", REPLACEABLE)
        return await self._processes.replace(seconds)

    def end(self) -> None:
        """
        Refuse: a daemon is stopped, not cancelled.

        :raise MigrationError: always.
        """
        raise MigrationError(f"{self._plugin}: a daemon cannot be cancelled; stop it with SIGTERM")

    def _ungoverned(self, failure: Failure) -> None:
        failure.trap(NbdtunError)
        self.log.warn("`nbdtun status` and `set` cannot reach this daemon: {reason}", reason=failure.getErrorMessage())
