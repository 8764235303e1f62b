"""The control of a running daemon: its report, and its bandwidth limit, which can be changed at any time."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from nbdtun import __version__
from nbdtun.config import DestinationSettings, SourceSettings
from nbdtun.errors import MigrationError, NbdtunError
from nbdtun.logs import make_logger
from nbdtun.process import Reactor
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import NO_LIMIT, ControlSocket
from nbdtun.tunnel.destination.server import Destination
from nbdtun.tunnel.runtime.throttle import Throttle
from nbdtun.tunnel.source.client import Source
from nbdtun.units import rate_text


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


async def _nothing() -> dict[str, Any]:
    return {}


class DaemonControl(Service):
    """
    Controls the ``throttle`` of the daemon ``plugin``, over a control socket named by its process id, in the directory for ``run_dir``.
    ``survey`` returns what else its report has.

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
    ) -> None:
        self._reactor = reactor
        self._run_dir = run_dir
        self._plugin = plugin
        self._throttle = throttle
        self._survey = survey
        self._control: ControlSocket | None = None
        self._began: float | None = None

    @classmethod
    def of(cls, service: Governed, plugin: str) -> DaemonControl:
        """
        Make the control through which `nbdtun status` and `nbdtun set @PID --bandwidth` reach ``service``; a process has one at most.

        An application with several services sets ``service.tunnel.runtime.throttle.rate`` itself: bytes per second, None for no limit.
        """
        runtime = service.tunnel.runtime
        return cls(runtime.reactor, service.settings.tunnel.run_dir, plugin, runtime.throttle, service.survey)

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

    def end(self) -> None:
        """
        Refuse: a daemon is stopped, not cancelled.

        :raise MigrationError: always.
        """
        raise MigrationError(f"{self._plugin}: a daemon cannot be cancelled; stop it with SIGTERM")

    def _ungoverned(self, failure: Failure) -> None:
        failure.trap(NbdtunError)
        self.log.warn("`nbdtun status` and `set` cannot reach this daemon: {reason}", reason=failure.getErrorMessage())
