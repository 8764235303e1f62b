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

from nbdtun.errors import DestinationFailed, LinkLost, NbdtunError, ProtocolViolation, tree, wire_errors
from nbdtun.migration.disks import Disk
from nbdtun.migration.names import SESSION

VERSION = 1
MAX_DISKS = 64
MAX_KEYS = 16
MAX_ERROR = 4000
MAX_BYTES = 1 << 63
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
        rows: list[dict[str, Any]] = super().fromStringProto(data, proto)
        if len(rows) > self.limit:
            raise _refuse(f"more than {self.limit} of them")
        return rows


ERRORS = wire_errors()


class Prepare(amp.Command):
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


class Listen(amp.Command):
    """Let the destination QEMU wait for its memory; answered with the target of the migration stream."""

    arguments: ClassVar = [(b"session", SessionId())]
    response: ClassVar = [(b"target", Text())]
    errors = ERRORS


class Finish(amp.Command):
    """
    The source has sent everything and stands still: take over, and let the guest run if ``run``.

    Any error but ``unknown`` means that the guest does not run here and never will by this session.
    """

    arguments: ClassVar = [(b"session", SessionId()), (b"run", amp.Boolean())]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = ERRORS


class Abort(amp.Command):
    """Undo the session. Answered with its state, ``finished`` if it was too late."""

    arguments: ClassVar = [(b"session", SessionId())]
    response: ClassVar = [(b"state", Text())]
    errors = ERRORS


class Query(amp.Command):
    """
    What has become of ``session``, of ``vm``?

    ``state`` is the session's (see :class:`nbdtun.migration.session.State`), or ``unknown`` after a restart of the daemon;
    ``machine`` is what QEMU says of the machine just now (``running``, ``paused``, ``inmigrate``...), or ``unreachable``.
    """

    arguments: ClassVar = [(b"session", SessionId()), (b"vm", Text())]
    response: ClassVar = [(b"state", Text()), (b"machine", Text()), (b"reason", Text(MAX_ERROR))]
    errors = ERRORS


class Settle(amp.Command):
    """
    Make an end of whatever was begun with ``vm``, long after: has it arrived?

    ``outcome`` is ``arrived``, or ``gone``: it has not run here, and its QEMU was ended, so that it never will.
    """

    arguments: ClassVar = [(b"vm", Text())]
    response: ClassVar = [(b"outcome", Text())]
    errors = ERRORS


class Trouble(amp.Command):
    """From the destination: the session has failed there."""

    arguments: ClassVar = [(b"session", SessionId()), (b"code", Text()), (b"reason", Text(MAX_ERROR))]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    requiresAnswer = False


class Ping(amp.Command):
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


def error_of(code: str, reason: str) -> NbdtunError:
    """The error of that code, as it is raised at the other end."""
    for error in tree():
        if error.code == code:
            return error(reason)
    return DestinationFailed(reason)


class Control(amp.AMP):
    """One end of a control channel. ``when_lost`` fires once, when the channel has ended for good."""

    log = txaio.make_logger()

    def __init__(self) -> None:
        super().__init__()
        self._lost: LinkLost | None = None
        self._mourners: list[Deferred[LinkLost]] = []
        self._keys = 0

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

    def unhandledError(self, failure: Failure) -> None:
        self.log.warn("control channel closed: {reason}", reason=failure.getErrorMessage())
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
        except (NbdtunError, CancelledError):
            raise
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
        if isinstance(failure.value, NbdtunError):
            return Failure(type(failure.value)(str(failure.value)[:MAX_ERROR]))
        log.failure("a command of the other end failed", failure=failure)
        return Failure(DestinationFailed(f"internal error at the destination: {failure.value!r}"[:MAX_ERROR]))

    return Deferred.fromCoroutine(work()).addErrback(translate)
