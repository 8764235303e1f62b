"""The control of a running daemon: its report, and its bandwidth limit, which can be changed at any time."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from nbdtun import __version__
from nbdtun.config import VM, DestinationSettings, SourceSettings, VMPattern
from nbdtun.config.values import parse_vm
from nbdtun.errors import MigrationError, NbdtunError
from nbdtun.logs import make_logger
from nbdtun.process import Reactor
from nbdtun.service.control.commands import NO_LIMIT, ChangedVMs
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import ControlSocket
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.runtime.throttle import Throttle
from nbdtun.tunnel.source.client import Source
from nbdtun.units import rate_text

#: Lets a new program take over.
Replacing = Callable[[float | None], Coroutine[Any, Any, dict[str, Any]]]

#: What can be done where it cannot.
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


async def _nothing() -> dict[str, Any]:
    return {}


class DaemonControl(Service):
    """
    Controls the ``throttle`` of the daemon ``plugin``, over a control socket named by its process id, in the directory for ``run_dir``.
    ``survey`` returns what else its report has, ``serve`` changes its VMs, ``reload`` reads its configuration file again, and ``replace``
    lets a new program take over.

    A :class:`~nbdtun.service.control.socket.Controllable`. A daemon that cannot make a control socket logs a warning and works without.
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
        reload: Callable[[], Coroutine[Any, Any, dict[str, Any]]] | None = None,
        replace: Replacing | None = None,
    ) -> None:
        self._reactor = reactor
        self._run_dir = run_dir
        self._plugin = plugin
        self._throttle = throttle
        self._survey = survey
        self._serve = serve
        self._reload = reload
        self._replace = replace
        self._control: ControlSocket | None = None
        self._began: float | None = None

    @classmethod
    def of(
        cls,
        service: Governed,
        plugin: str,
        reload: Callable[[], Coroutine[Any, Any, dict[str, Any]]] | None = None,
        replace: Replacing | None = None,
    ) -> DaemonControl:
        """
        Make the control through which `nbdtun status` and `nbdtun set @PID --bandwidth` reach ``service``; a process has one at most.

        An application with several services sets ``service.tunnel.runtime.throttle.rate`` itself: bytes per second, None for no limit.
        """
        runtime = service.tunnel.runtime
        run_dir = service.settings.tunnel.run_dir
        return cls(runtime.reactor, run_dir, plugin, runtime.throttle, service.survey, service.serve, reload, replace)

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

    async def change(self, bandwidth: int | None, downtime: int | None, switchover: int | None = None) -> None:
        """
        Change its bandwidth limit.

        :raise MigrationError: ``downtime`` or ``switchover`` was given, and a daemon pauses no guest.
        """
        for option, value in (("downtime", downtime), ("switchover", switchover)):
            if value is not None:
                raise MigrationError(f"{self._plugin}: --{option} applies to a migration, not to a daemon")
        if bandwidth is not None:
            self._throttle.rate = None if bandwidth == NO_LIMIT else bandwidth
            self.log.info("bandwidth is now {rate}", rate=rate_text(bandwidth) if bandwidth else "unlimited")

    def serve(self, vms: ChangedVMs) -> list[str]:
        """
        Change the VMs that it serves, and return them.

        :raise NbdtunError: it receives none, or not these.
        """
        if self._serve is None:
            raise MigrationError(f"{self._plugin}: it receives no VMs")
        return self._serve([parse_vm(text) for text in vms.add], vms.remove)

    async def reload(self) -> dict[str, Any]:
        """
        Read the configuration file again; return what was ``taken`` of it, and what was ``left``.

        :raise NbdtunError: there is none, or it cannot be used.
        """
        if self._reload is None:
            raise MigrationError(f"{self._plugin}: it has no configuration file")
        return await self._reload()

    async def replace(self, seconds: float | None) -> dict[str, Any]:
        """
        Let a new program take over, and keep what is under way for at most so many ``seconds``; return its process as ``successor``.

        :raise NbdtunError: this program cannot be replaced, or the new one does not take over.
        """
        if self._replace is None:
            raise MigrationError(f"{self._plugin}: its program cannot be replaced while it runs", REPLACEABLE)
        return await self._replace(seconds)

    def end(self) -> None:
        """
        Refuse: a daemon is stopped, not cancelled.

        :raise MigrationError: always.
        """
        raise MigrationError(f"{self._plugin}: a daemon cannot be cancelled; stop it with SIGTERM")

    def _ungoverned(self, failure: Failure) -> None:
        failure.trap(NbdtunError)
        self.log.warn("`nbdtun status` and `set` cannot reach this daemon: {reason}", reason=failure.getErrorMessage())
