"""One end of a control channel: the protocol that asks and answers the :mod:`~nbdtun.migration.control.commands`, and trusts no peer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import txaio
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.protocols import amp
from twisted.python.failure import Failure

from nbdtun.errors import ConfigError, DestinationFailed, LinkLost, NbdtunError, ProtocolViolation, error_of, printable
from nbdtun.migration.arguments import MAX_ERROR, MAX_KEYS
from nbdtun.migration.control.commands import NOT_ITS_TO_TELL

#: Commands of the other end that may be under way at one time, and in all over one control channel: each may keep an answer in memory.
MAX_PENDING, MAX_COMMANDS = 16, 4096

GONE = Failure(ConnectionDone())


def remote_error(code: str, reason: str) -> NbdtunError:
    """The error that the other end reports by its code, as far as it is the other end's to report."""
    error = error_of(code, reason, NbdtunError, DestinationFailed)
    return DestinationFailed(str(error)) if isinstance(error, NOT_ITS_TO_TELL) else error


class Control(amp.AMP):
    """One end of a control channel. ``when_lost`` fires once, when the channel has ended for good."""

    log = txaio.make_logger()

    def __init__(self) -> None:
        super().__init__()
        self._lost: LinkLost | None = None
        self._waiters: list[Deferred[LinkLost]] = []
        self._keys = 0
        self._pending = 0
        self._commands = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'lost' if self._lost else 'connected' if self.transport else 'new'}>"

    @property
    def lost(self) -> bool:
        """Whether it has ended."""
        return self._lost is not None

    def when_lost(self) -> Deferred[LinkLost]:
        """A Deferred of the caller's own, which fires with the error when the channel is gone; at once if it is."""
        mourner: Deferred[LinkLost] = Deferred()
        if self._lost is not None:
            mourner.callback(self._lost)
        else:
            self._waiters.append(mourner)
        return mourner

    def makeConnection(self, transport: Any) -> None:
        """Begin; AMP's own would write a line to the log for the beginning and for the end."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = GONE) -> None:
        self._lost = LinkLost(f"the control channel to the other end was lost{_because(reason.value)}")
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None
        mourners, self._waiters = self._waiters, []
        for mourner in mourners:
            if not mourner.called:
                mourner.callback(self._lost)

    def dataReceived(self, data: bytes) -> None:
        """AMP lets what it cannot make sense of out as exceptions of many kinds."""
        try:
            super().dataReceived(data)
        except Exception as error:
            self.unhandledError(Failure(ProtocolViolation(f"it does not speak the protocol: {error!r:.200}")))

    def proto_key(self, string: bytes) -> str:
        """AMP bounds a key and a value, but not how many of them a box has."""
        self._keys = self._keys + 1 if string else 0
        if self._keys > MAX_KEYS:
            raise ProtocolViolation("a message with too many fields")
        state: str = super().proto_key(string)
        return state

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        if self._lost is not None:
            return  # it came in one piece with what has ended the channel
        if amp.ERROR_DESCRIPTION in box:  # it will stand in our log, and on an operator's terminal
            box[amp.ERROR_DESCRIPTION] = printable(box[amp.ERROR_DESCRIPTION].decode("utf-8", "replace")).encode()
        if amp.ERROR in box and not {amp.ERROR_CODE, amp.ERROR_DESCRIPTION} <= box.keys():
            raise ProtocolViolation("an error without its code or description")
        super().ampBoxReceived(box)

    def locateResponder(self, name: bytes) -> Any:
        """Find who answers a command: none of AMP's own, such as StartTLS."""
        return None if name == amp.StartTLS.commandName else super().locateResponder(name)

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

    def unhandledError(self, failure: Failure) -> None:
        violation = ProtocolViolation.code if not isinstance(failure.value, NbdtunError) else failure.value.code
        self.log.warn("control channel closed: {reason}", reason=printable(failure.getErrorMessage()), code=violation)
        if self.transport is not None:
            self.transport.loseConnection()

    def hang_up(self) -> None:
        """End it, if it is there."""
        if self.transport is not None:
            self.transport.loseConnection()

    async def ask(self, command: type[amp.Command], **arguments: Any) -> dict[str, Any]:
        """
        Send ``command`` and return the answer.

        :raise NbdtunError: what the other end reports, in its own words.
        :raise LinkLost: the channel is gone, and whether the other end did it is unknown.
        """
        try:
            answer: dict[str, Any] = await self.callRemote(command, **arguments)
        except (NbdtunError, CancelledError) as error:
            if self._lost is None or isinstance(error, CancelledError):
                raise
            raise LinkLost(f"the control channel was lost before {command.__name__} was answered: {error}") from error
        except amp.AmpError as error:
            reason = getattr(error, "description", "it does not know that command")
            raise DestinationFailed(f"the other end failed at {command.__name__}: {reason}; its log tells more") from error
        except Exception as error:
            raise LinkLost(f"the control channel was lost before {command.__name__} was answered{_because(error)}") from error
        return answer

    def notify(self, command: type[amp.Command], **arguments: Any) -> None:
        """Send ``command``, which has no answer, if the channel is still there."""
        if self._lost is None and self.transport is not None:
            self.callRemote(command, **arguments)


def _because(reason: BaseException | None) -> str:
    """What a channel's end has to add to the fact."""
    return "" if isinstance(reason, ConnectionDone | ConnectionLost) else f": {reason}"


def respond(work: Callable[[], Any], log: Any) -> Deferred[Any]:
    """Run a responder; a bug in it reaches the peer as one line, and our log as a traceback."""

    def translate(failure: Failure) -> Failure:
        if isinstance(failure.value, ConfigError):
            return Failure(DestinationFailed(f"at the destination: {failure.value}"[:MAX_ERROR]))
        if isinstance(failure.value, NbdtunError):
            return Failure(type(failure.value)(str(failure.value)[:MAX_ERROR]))
        log.failure("a command of the other end failed", failure=failure)
        return Failure(DestinationFailed(f"internal error at the destination: {failure.value!r}"[:MAX_ERROR]))

    return Deferred.fromCoroutine(work()).addErrback(translate)
