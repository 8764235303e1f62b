"""
What the two ends of a migration say to each other: AMP over one control channel.

The source asks, the destination answers; only ``Trouble`` goes the other way. A session's commands come in this order::

    Prepare   check the disks, start the NBD server            undone by Abort, and by the loss of the control channel
    Listen    let QEMU wait for its memory
    Finish    all has been sent: take over, and run if told    the one step that cannot be taken back
    Abort     drop everything
    Query     what has become of this session?                 at any time, over any control channel
    Settle    what has become of this VM? If it has not arrived, let it never do so

Errors keep their class across the wire, by their ``code``, and their text, which is the one line that an operator reads.

The peer is not trusted: each text and number has a bound which is checked before it is used, boxes have a limited number of keys,
and no path, QMP command or target of a peer's choosing is ever used: the VM is a key of a table, disks are compared, and the
session's id has one form.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import txaio
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.protocols import amp
from twisted.python.failure import Failure

from nbdtun.errors import (
    ConfigError,
    DestinationFailed,
    LinkLost,
    NbdtunError,
    OutcomeUnknown,
    ProtocolViolation,
    error_of,
    printable,
    wire_errors,
)
from nbdtun.migration.disks import Disk
from nbdtun.migration.names import SESSION

VERSION = 1
MAX_DISKS = 64
MAX_KEYS = 16
MAX_ERROR = 4000
MAX_BYTES = 1 << 63

#: Commands of the other end that may be under way at one time, and in all over one control channel: each may keep an answer in memory.
MAX_PENDING, MAX_COMMANDS = 16, 4096

#: What the other end cannot know: an option of ours that is wrong; and an unknown outcome, but for the one command that has an outcome.
NOT_ITS_TO_TELL = (ConfigError, OutcomeUnknown)
GONE = Failure(ConnectionDone())


def _refuse(reason: str) -> amp.RemoteAmpError:
    return amp.RemoteAmpError(ProtocolViolation.code.encode(), reason, fatal=True)


class Text(amp.Argument):
    """UTF-8 text of at most ``limit`` printable characters."""

    def __init__(self, limit: int = 255, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self.limit = limit

    def fromString(self, data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        if len(text) > self.limit or not text.isprintable():
            raise _refuse(f"a text of {len(text)} characters, or with unprintable ones, where {self.limit} are allowed")
        return text

    def toString(self, text: str) -> bytes:
        return "".join(c if c.isprintable() else " " for c in text[: self.limit]).encode()


class Number(amp.Argument):
    """A number from 0 to ``limit``."""

    def __init__(self, limit: int = MAX_BYTES, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self.limit = limit

    def fromString(self, data: bytes) -> int:
        if len(data) > 20 or not data.isdigit() or int(data) > self.limit:
            raise _refuse(f"not a number from 0 to {self.limit}")
        return int(data)

    def toString(self, number: int) -> bytes:
        return b"%d" % number


class SessionId(amp.Argument):
    """The id of a session: 32 hexadecimal digits."""

    def fromString(self, data: bytes) -> str:
        text = data.decode("ascii", "replace")
        if not SESSION.match(text):
            raise _refuse("not the id of a session")
        return text

    def toString(self, session: str) -> bytes:
        return session.encode()


class Rows(amp.AmpList):
    """A list of at most ``limit`` boxes."""

    def __init__(self, subargs: Sequence[tuple[bytes, amp.Argument]], limit: int = MAX_DISKS) -> None:
        super().__init__(list(subargs))
        self.limit = limit

    def fromStringProto(self, data: bytes, proto: Any) -> list[dict[str, Any]]:
        if data.count(b"\x00\x00") > self.limit * MAX_KEYS:
            raise _refuse("too long a list")
        try:
            rows: list[dict[str, Any]] = super().fromStringProto(data, proto)
        except (AttributeError, KeyError, ValueError) as nonsense:  # the first: AMP's parser wants to close what has no connection
            raise _refuse("not a list") from nonsense
        if len(rows) > self.limit:
            raise _refuse(f"more than {self.limit} of them")
        return rows


ERRORS = {error: code for error, code in wire_errors().items() if not issubclass(error, NOT_ITS_TO_TELL)}


class _Command(amp.Command):
    """A command of which nothing is believed before it is checked; a missing field is the peer's fault, and not worth a traceback."""

    @classmethod
    def parseArguments(cls, box: amp.AmpBox, protocol: Any) -> Any:
        """Parse what a peer asks."""
        try:
            return super().parseArguments(box, protocol)
        except (KeyError, ValueError, TypeError) as nonsense:
            raise _refuse(f"{cls.__name__} is malformed") from nonsense

    @classmethod
    def parseResponse(cls, box: amp.AmpBox, protocol: Any) -> Any:
        """Parse what a peer answers."""
        try:
            return super().parseResponse(box, protocol)
        except (KeyError, ValueError, TypeError, amp.RemoteAmpError) as nonsense:
            raise ProtocolViolation(f"the answer to {cls.__name__} is malformed") from nonsense


class Prepare(_Command):
    """
    Check ``vm`` and its ``disks``, and serve them.

    ``machine`` is QEMU's type of the machine, ``memory`` its RAM in bytes. Answered with the target for NBD connections. The export
    of disk number n is called :func:`~nbdtun.migration.names.block_name`, which both ends can tell, so that no name of the peer's
    choosing gets into a monitor.
    """

    arguments: ClassVar = [
        (b"version", Number(65535)),
        (b"session", SessionId()),
        (b"vm", Text()),
        (b"machine", Text()),
        (b"memory", Number()),
        (b"disks", Rows([(b"node", Text()), (b"device", Text()), (b"qdev", Text()), (b"size", Number())])),
    ]
    response: ClassVar = [(b"target", Text())]
    errors = ERRORS


class Listen(_Command):
    """Let the destination QEMU wait for its memory; answered with the target of the migration stream."""

    arguments: ClassVar = [(b"session", SessionId())]
    response: ClassVar = [(b"target", Text())]
    errors = ERRORS


class Finish(_Command):
    """
    The source has sent everything and stands still: take over, and let the guest run if ``run``.

    Any error but ``unknown`` means that the guest does not run here and never will by this session.
    """

    arguments: ClassVar = [(b"session", SessionId()), (b"run", amp.Boolean())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = ERRORS | wire_errors(OutcomeUnknown)


class Abort(_Command):
    """Undo the session. Answered with its state, ``finished`` if it was too late."""

    arguments: ClassVar = [(b"session", SessionId())]
    response: ClassVar = [(b"state", Text())]
    errors = ERRORS


class Query(_Command):
    """
    What has become of ``session``, of ``vm``?

    ``state`` is the session's (see :class:`nbdtun.migration.session.State`), or ``unknown`` after a restart of the daemon;
    ``machine`` is what QEMU says of the machine just now (``running``, ``paused``, ``inmigrate``...), or ``unreachable``.
    """

    arguments: ClassVar = [(b"session", SessionId()), (b"vm", Text())]
    response: ClassVar = [(b"state", Text()), (b"machine", Text()), (b"reason", Text(MAX_ERROR))]
    errors = ERRORS


class Settle(_Command):
    """
    Make an end of whatever was begun with ``vm``, long after: has it arrived?

    ``session`` is which one, where the source knows that. ``outcome`` is ``arrived``, or ``gone``: it has not run here, and its QEMU was
    ended, so that it never will. Or, of a session which the destination does not know, ``fresh``: QEMU has received nothing.
    """

    arguments: ClassVar = [(b"vm", Text()), (b"session", SessionId(optional=True))]
    response: ClassVar = [(b"outcome", Text())]
    errors = ERRORS


class Trouble(_Command):
    """From the destination: the session has failed there."""

    arguments: ClassVar = [(b"session", SessionId()), (b"code", Text()), (b"reason", Text(MAX_ERROR))]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    requiresAnswer = False


class Ping(_Command):
    """Are you there? Asked by the destination when a second session wants the same VM, and by a source to measure the round trip."""

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = ERRORS


def rows_of(disks: tuple[Disk, ...]) -> list[dict[str, Any]]:
    """Disks as :class:`Prepare` carries them."""
    return [{"node": disk.node, "device": disk.device, "qdev": disk.qdev, "size": disk.size} for disk in disks]


def disks_of(rows: list[dict[str, Any]]) -> tuple[Disk, ...]:
    """The reverse of :func:`rows_of`."""
    return tuple(Disk(row["node"], row["device"], row["qdev"], row["size"]) for row in rows)


def told(code: str, reason: str) -> NbdtunError:
    """The error that the other end reports by its code, as far as it is the other end's to report."""
    error = error_of(code, reason, NbdtunError, DestinationFailed)
    return DestinationFailed(str(error)) if isinstance(error, NOT_ITS_TO_TELL) else error


class Control(amp.AMP):
    """One end of a control channel. ``when_lost`` fires once, when the channel has ended for good."""

    log = txaio.make_logger()

    def __init__(self) -> None:
        super().__init__()
        self._lost: LinkLost | None = None
        self._mourners: list[Deferred[LinkLost]] = []
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
            self._mourners.append(mourner)
        return mourner

    def makeConnection(self, transport: Any) -> None:
        """Begin; AMP's own would write a line to the log for the beginning and for the end."""
        amp.BinaryBoxProtocol.makeConnection(self, transport)

    def connectionLost(self, reason: Failure = GONE) -> None:
        self._lost = LinkLost(f"the control channel to the other end was lost{_because(reason.value)}")
        amp.BinaryBoxProtocol.connectionLost(self, reason)
        self.transport = None
        mourners, self._mourners = self._mourners, []
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


def answering(work: Callable[[], Any], log: Any) -> Deferred[Any]:
    """Run a responder; a bug in it reaches the peer as one line, and our log as a traceback."""

    def translate(failure: Failure) -> Failure:
        if isinstance(failure.value, ConfigError):
            return Failure(DestinationFailed(f"at the destination: {failure.value}"[:MAX_ERROR]))
        if isinstance(failure.value, NbdtunError):
            return Failure(type(failure.value)(str(failure.value)[:MAX_ERROR]))
        log.failure("a command of the other end failed", failure=failure)
        return Failure(DestinationFailed(f"internal error at the destination: {failure.value!r}"[:MAX_ERROR]))

    return Deferred.fromCoroutine(work()).addErrback(translate)
