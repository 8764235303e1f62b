"""
A dialogue over AMP: a connection that stands for a while, over which questions are asked, each of which ends.

What the texts call it and its two ends is a subclass's to say.
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
from nbdtun.errors import ConfigError, LinkLost, NbdtunError, NoAnswer, ProtocolViolation, printable

#: Commands of the other end that may be under way at one time, and in all over one connection: each may keep an answer in memory.
MAX_PENDING, MAX_COMMANDS = 16, 4096


class Dialogue(Peer):
    """
    One end of it; ``clock`` bounds how long an answer may take. ``when_lost`` fires once, when it has ended for good.

    ``channel``, ``other`` and ``here`` are what texts call the connection, the other end, and where this one is.
    """

    #: Where it writes.
    log: ClassVar[Any]

    #: What a failure is, at either end, that has no error of its own to cross the wire as.
    failed: ClassVar[type[NbdtunError]]

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
        """Whether it has ended."""
        return self._lost is not None

    def when_lost(self) -> Deferred[LinkLost]:
        """A Deferred of the caller's own, which fires with the error when the connection is gone; at once if it is."""
        waiting: Deferred[LinkLost] = Deferred()
        if self._lost is not None:
            waiting.callback(self._lost)
        else:
            self._waiting.append(waiting)
        return waiting

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the questions that wait for an answer, and call those who wait for the end."""
        self._lost = LinkLost(f"the {self.channel} to {self.other} was lost{_because(reason.value)}")
        super().connectionLost(reason)
        self.transport = None
        all_waiting, self._waiting = self._waiting, []
        for waiting in all_waiting:
            if not waiting.called:
                waiting.callback(self._lost)

    def dispatchCommand(self, box: amp.AmpBox) -> Any:
        """Obey a command, unless there are too many."""
        self._pending += 1
        self._commands += 1
        if self._pending > MAX_PENDING or self._commands > MAX_COMMANDS:
            raise ProtocolViolation(f"more than {MAX_PENDING} commands at a time, or {MAX_COMMANDS} in all")
        return super().dispatchCommand(box).addBoth(self._dispatched)

    def _dispatched(self, result: Any) -> Any:
        self._pending -= 1
        return result

    def command_refused(self, reason: str) -> None:
        """Say why it ends: AMP closes it once this is answered."""
        self._log_end(ProtocolViolation(reason))

    def unhandledError(self, failure: Failure) -> None:
        """Say why it ends, and end it."""
        error = failure.value
        if not isinstance(error, Refused):  # of a command that wants no answer; that has been said
            self._log_end(error if isinstance(error, NbdtunError) else ProtocolViolation(failure.getErrorMessage()))
        super().unhandledError(failure)

    def _log_end(self, error: NbdtunError) -> None:
        self.log.warn("{channel} closed: {reason}", channel=self.channel, reason=printable(str(error)), code=error.code)

    def hang_up(self) -> None:
        """End it, if it is there."""
        if self.transport is not None:
            self.transport.loseConnection()

    async def ask(self, command: type[amp.Command], *, seconds: float | None, **arguments: Any) -> dict[str, Any]:
        """
        Send ``command`` and return the answer, for which ``seconds`` are waited; None: for as long as the connection stands.

        :raise NbdtunError: what the other end reports, in its own words.
        :raise NoAnswer: it has not answered in time, and whether it obeyed is unknown.
        :raise LinkLost: the connection is gone, and whether the other end obeyed is unknown.
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
        except Exception as error:
            raise LinkLost(f"the {self.channel} was lost before {name} was answered{_because(error)}") from error

    def notify(self, command: type[amp.Command], **arguments: Any) -> None:
        """Send ``command``, which has no answer, if the connection is still there."""
        if self._lost is None and self.transport is not None:
            self.callRemote(command, **arguments)

    def respond(self, work: Callable[[], Any]) -> Deferred[Any]:
        """Do the ``work`` for an answer; a bug in it reaches the other end as one line, and our log as a traceback."""
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
    """What a connection's end has to add to the fact."""
    return "" if isinstance(reason, ConnectionDone | ConnectionLost) else f": {reason}"
