"""A worker, as the daemon's main process sees it: a process, a connection to it, and the channels that it has."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.python.failure import Failure

from nbdtun import __version__
from nbdtun.deferreds import end_of
from nbdtun.dialogue import Dialogue
from nbdtun.errors import ChannelReset, LinkLost, TunnelError, error_of
from nbdtun.logs import make_logger
from nbdtun.service.workers.commands import Attach, Begin, Delivered, Ended, Line, Look, Make, Open, Part, Settle, Told
from nbdtun.service.workers.hosted import ANSWER_SECONDS, Hosted
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.channels.figures import Figures
from nbdtun.tunnel.channels.splice import Farewell
from nbdtun.tunnel.runtime.runtime import Runtime

#: Seconds for it to begin.
BEGIN_SECONDS: Final = 30.0

#: Seconds for it to read what it was told, once its connection is to end: one that hangs may have more unread than fits in there.
UNREAD: Final = 2.0


class Process(Protocol):
    """One that was started."""

    pid: int

    def end(self, *, patient: bool) -> str:
        """Kill it, if it still runs, if ``patient`` after a moment; return how it has ended, in words."""


class Worker(Dialogue):
    """
    The worker in ``process``, of the end whose ``runtime`` this is. It has ``channels``. ``write`` writes the events of its log.

    It has ``begun`` when it may get channels, and is ``refused`` where it does not begin;
    ``watched`` while it is asked for a sign of life. ``ending`` says how it has ended, once it has.
    """

    log = make_logger()
    failed = TunnelError
    channel = "connection"
    here = "in the daemon's main process"
    limited = False

    def __init__(self, runtime: Runtime, process: Process, write: Callable[[int, dict[str, Any]], None]) -> None:
        super().__init__(runtime.reactor)
        self.pid = process.pid
        self.other = f"worker {process.pid}"
        self.channels: dict[bytes, Hosted] = {}
        self.begun = False
        self.refused = self.watched = False
        self.ending = ""
        self._runtime = runtime
        self._process = process
        self._write = write

    def __repr__(self) -> str:
        return f"<Worker {self.pid}, {len(self.channels)} channels>"

    async def begin(self, settings: bytes, spare: int) -> None:
        """
        Let it begin, with these settings, and ``spare`` bytes for large windows.

        :raise NbdtunError: it does not.
        :raise OSError: there is no descriptor for its part of the bandwidth limit.
        """
        bucket = self._runtime.throttle.share()
        told = {"release": __version__, "settings": settings, "spare": spare, **self._rate}
        await self.ask(Begin, seconds=BEGIN_SECONDS, bucket=bucket, **told)
        self.begun = True

    async def settle(self, settings: bytes | None = None) -> None:
        """
        Let it go on with these settings, and the present bandwidth limit.

        :raise NbdtunError: it cannot.
        """
        told = self._rate if settings is None else {"settings": settings, **self._rate}
        await self.ask(Settle, seconds=ANSWER_SECONDS, **told)

    @property
    def _rate(self) -> dict[str, int]:
        rate = self._runtime.throttle.rate
        return {} if rate is None else {"rate": int(rate)}

    def make(self, ident: bytes, sock: socket.socket, target: str, window: int, *, urgent: bool) -> Hosted:
        """Let it have a new channel of a destination, with this socket of its target."""
        channel = self._host(ident, target)
        self._pass(sock, Make, channel=ident, target=target, window=window, urgent=urgent).addErrback(self._not_made, channel)
        return channel

    def open(
        self, ident: bytes, sock: socket.socket, target: str, *, urgent: bool, secret: bytes, session: bytes, farewell: Farewell | None
    ) -> tuple[Hosted, Deferred[object]]:
        """Let it open a channel of a source, for this socket of a local program; the Deferred fires when that is done."""
        channel = self._host(ident, target)
        channel.kept, channel.farewell = sock, farewell
        about: dict[str, Any] = {"urgent": urgent, "secret": secret, "session": session, "farewell": farewell is not None}
        opening: Deferred[Any] = Deferred.fromCoroutine(
            self.ask(Open, seconds=None, sock=sock.fileno(), channel=ident, target=target, **about)
        )
        opening.addErrback(self._not_made, channel)
        return channel, opening.addCallback(lambda _: self._opened(channel))

    def attach(self, ident: bytes, turn: int, sock: socket.socket, state: LinkState | None) -> None:
        """See :class:`~nbdtun.service.workers.hosted.Host`; where that fails, the source dials again."""
        told = {} if state is None else {"state": state}
        self._pass(sock, Attach, channel=ident, turn=turn, **told).addErrback(self._not_attached, ident)

    async def look(self, seconds: float) -> None:
        """
        Let it tell all figures, within so many seconds.

        :raise NbdtunError: it does not answer.
        """
        await self.ask(Look, seconds=seconds)

    def _host(self, ident: bytes, target: str) -> Hosted:
        channel = self.channels[ident] = Hosted(self, ident, target, self._runtime.contact)
        return channel

    def _pass(self, sock: socket.socket, command: Any, **arguments: object) -> Deferred[Any]:
        """The descriptor must stay open until it is sent: an answer proves that, or the end of the connection."""
        asking: Deferred[Any] = Deferred.fromCoroutine(self.ask(command, seconds=None, sock=sock.fileno(), **arguments))
        end_of(asking).addCallback(lambda _: sock.close())
        return asking

    def _not_attached(self, failure: Failure, ident: bytes) -> None:
        """A channel that has no link yet waits for one from now on, and not for ever."""
        failure.trap(TunnelError)
        found, error = self.channels.get(ident), failure.value
        if found is not None and isinstance(error, TunnelError):
            found.abandoned(error)

    def _not_made(self, failure: Failure, channel: Hosted) -> None:
        error = failure.value
        if isinstance(error, CancelledError):
            failure.raiseException()  # the worker goes on with it, until the one who has cancelled this resets the channel
        self._over(channel, error if isinstance(error, TunnelError) else LinkLost(str(error)))

    def _opened(self, channel: Hosted) -> None:
        if channel.error is not None:
            raise channel.error.again()

    def _over(self, channel: Hosted, error: TunnelError | None, figures: Figures | None = None) -> None:
        self.channels.pop(channel.ident, None)
        channel.over(error, figures)

    def hang_up(self) -> None:
        """See :meth:`Dialogue.hang_up`; soon, whatever it reads."""
        super().hang_up()
        transport: Any = self.transport
        if transport is not None:
            later = self._clock.callLater(UNREAD, transport.abortConnection)
            self.when_lost().addCallback(lambda _: later.cancel() if later.active() else None)

    def end(self) -> list[str]:
        """It has ended, or is to: end its channels too, and return their names."""
        begun, self.begun = self.begun, False
        self.ending = self.ending or self._process.end(patient=begun)  # one that has not begun may load for long
        names = sorted(channel.name for channel in self.channels.values())
        for channel in tuple(self.channels.values()):
            self.channels.pop(channel.ident, None)
            channel.bereave(ChannelReset(f"{self.other}, which had it, has ended ({self.ending})"))
        return names

    # What it tells.

    @Told.responder
    def told(self, figures: dict[str, list[Any]]) -> dict[str, Any]:
        for ident, row in figures.items():
            if (channel := self.channels.get(bytes.fromhex(ident))) is not None:
                channel.hear(Figures(*row))
        return {}

    @Delivered.responder
    def delivered(self, channel: bytes) -> dict[str, Any]:
        if (found := self.channels.get(channel)) is not None:
            found.arrived()
        return {}

    @Part.responder
    def part(self, channel: bytes) -> Deferred[dict[str, Any]]:
        found = self.channels.get(channel)
        parting = succeed(None) if found is None else found.part()
        return end_of(parting).addCallback(lambda _: {})

    @Ended.responder
    def channel_ended(self, channel: bytes, figures: dict[str, Any], code: str | None = None, reason: str | None = None) -> dict[str, Any]:
        error = None if code is None else error_of(code, reason or code, TunnelError, ChannelReset)
        if (found := self.channels.get(channel)) is not None:
            self._over(found, error, Figures(*figures["row"]))
        return {}

    @Line.responder
    def line(self, event: dict[str, Any]) -> dict[str, Any]:
        self._write(self.pid, event)
        return {}
