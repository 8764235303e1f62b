"""
A dialogue over AMP: a long-lived connection for questions, each of which ends.

A subclass names the connection and its two ends, for the texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from nbdtun.amp import MAX_ERROR, Peer, Refused
from nbdtun.deferreds import with_timeout
from nbdtun.errors import ConfigError, LinkLost, NbdtunError, NoAnswer, ProtocolViolation
from nbdtun.logs import about

#: The most commands of the other end at one time, and in all over one connection: each may keep an answer in memory.
MAX_PENDING, MAX_COMMANDS = 16, 4096


class Dialogue(Peer):
    """
    One end of a dialogue. ``clock`` limits how long an answer may take. ``when_lost`` fires once, when the connection has ended.

    Texts call the connection ``channel``, the other end ``other``, and the place of this end ``here``.
    """

    #: The logger.
    log: ClassVar[Any]

    #: The error that crosses the wire for a failure, at either end, that has no error class of its own.
    failed: ClassVar[type[NbdtunError]]

    #: Whether the other end's commands are limited; not those of another process of our own.
    limited: ClassVar[bool] = True

    channel: str
    other: str
    here: str

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__()
        self._clock = clock
        self._lost: LinkLost | None = None
        self._waiting: list[Deferred[LinkLost]] = []
        self._pending = 0
        self._commands = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'lost' if self._lost else 'connected' if self.transport else 'new'}>"

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._lost is not None

    def when_lost(self) -> Deferred[LinkLost]:
        """A Deferred of the caller's own, which fires with the error when the connection is lost; at once if it already is."""
        waiting: Deferred[LinkLost] = Deferred()
        if self._lost is not None:
            waiting.callback(self._lost)
        else:
            self._waiting.append(waiting)
        return waiting

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the questions that wait for an answer, and fire the Deferreds of ``when_lost``."""
        self._lost = LinkLost(f"the {self.channel} to {self.other} was lost{_because(reason.value)}")
        self._lost.__cause__ = reason.value
        super().connectionLost(reason)
        self.transport = None
        all_waiting, self._waiting = self._waiting, []
        for waiting in all_waiting:
            if not waiting.called:
                waiting.callback(self._lost)

    def dispatchCommand(self, box: amp.AmpBox) -> Any:
        """Run a command, unless there are too many."""
        self._pending += 1
        self._commands += 1
        if self.limited and (self._pending > MAX_PENDING or self._commands > MAX_COMMANDS):
            raise ProtocolViolation(f"more than {MAX_PENDING} commands at a time, or {MAX_COMMANDS} in all")
        return super().dispatchCommand(box).addBoth(self._dispatched)

    def _dispatched(self, result: Any) -> Any:
        self._pending -= 1
        return result

    def command_refused(self, reason: str) -> None:
        """Log why the connection ends. AMP closes it after the answer."""
        self._log_end(ProtocolViolation(reason))

    def unhandledError(self, failure: Failure) -> None:
        """Log why the connection ends, and end it."""
        error = failure.value
        if not isinstance(error, Refused):  # a refused command without an answer is already logged
            self._log_end(error if isinstance(error, NbdtunError) else ProtocolViolation(failure.getErrorMessage()))
        super().unhandledError(failure)

    def _log_end(self, error: NbdtunError) -> None:
        self.log.warn("{channel} closed: {reason}", channel=self.channel, reason=str(error), code=error.code)

    def hang_up(self) -> None:
        """End the connection, if there is one."""
        if self.transport is not None:
            self.transport.loseConnection()

    async def ask(self, command: type[amp.Command], *, seconds: float | None, **arguments: Any) -> dict[str, Any]:
        """
        Send ``command`` and return the answer, waiting at most ``seconds``; None: as long as the connection lasts.

        :raise NbdtunError: the other end reported it, in its own words.
        :raise NoAnswer: it has not answered in time; the command may or may not have run.
        :raise LinkLost: the connection is lost; the command may or may not have run.
        """
        name = command.__name__
        asking: Deferred[dict[str, Any]] = self.callRemote(command, **arguments)
        with_timeout(self._clock, seconds, asking, lambda: NoAnswer(f"{self.other} has not answered {name} for {seconds:g} s"))
        try:
            return await asking
        except (NbdtunError, CancelledError) as error:
            if self._lost is None or isinstance(error, CancelledError):
                raise
            raise LinkLost(f"the {self.channel} was lost before {name} was answered: {error}") from error
        except amp.AmpError as error:
            reason = getattr(error, "description", "it does not know that command")
            raise self.failed(f"{self.other} failed at {name}: {reason}; its log says more") from error
        except Exception as error:  # with whatever the connection was lost: AMP passes its reason on
            raise LinkLost(f"the {self.channel} was lost before {name} was answered{_because(error)}") from error

    def notify(self, command: type[amp.Command], **arguments: Any) -> None:
        """Send ``command``, which has no answer, if there is still a connection."""
        if self._lost is None and self.transport is not None:
            self.callRemote(command, **arguments)

    def respond(self, work: Callable[[], Any], **known: object) -> Deferred[Any]:
        """
        Run ``work`` to get an answer. A bug in it reaches the other end as one line, and our log as a traceback.

        Its log lines are :func:`~nbdtun.logs.about` what is ``known``.
        """
        with about(**known):
            return Deferred.fromCoroutine(work()).addErrback(self._respond_failed)

    def _respond_failed(self, failure: Failure) -> Failure:
        error = failure.value
        if isinstance(error, ConfigError):
            return Failure(self.failed(f"{self.here}: {error}"[:MAX_ERROR]))
        if isinstance(error, NbdtunError):
            return Failure(type(error)(str(error)[:MAX_ERROR]))
        self.log.failure("a command of the other end failed", failure=failure)
        return Failure(self.failed(f"internal error {self.here}: {error!r}"[:MAX_ERROR]))


def _because(reason: BaseException | None) -> str:
    """The reason of a lost connection, where it says more than that it was lost."""
    return "" if isinstance(reason, ConnectionDone | ConnectionLost) else f": {reason}"
