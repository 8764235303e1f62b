"""
The commands between the two ends of a migration: AMP over one control channel.

The source sends commands, the destination answers; only ``Trouble`` and ``Ping`` also go the other way. A session's commands come in this
order::

    Prepare   check the disks, start the NBD server            undone by Abort, and by the loss of the control channel
    Listen    let QEMU wait for its memory
    Finish    all has been sent: take over, and run if asked   the one step that cannot be undone
    Abort     drop everything
    Query     the state of this session                        at any time, over any control channel
    Room      what is free at the destination's host                 at any time
    Settle    the outcome for this VM, once it is settled; if it has not arrived, make sure that it never does

Errors keep their class across the wire, by their ``code``, and their text, which is the one line that an operator reads.

The peer is not trusted: each text and number has a bound that is checked before use, boxes have a limited number of keys, and no path,
QMP command or target of a peer's choosing is ever used: the VM is a key of a table, disks are compared, and the session's id has one form.
Only the names of bitmaps are taken over, as texts.
"""

from __future__ import annotations

import enum
from typing import ClassVar

from twisted.protocols import amp

from nbdtun.amp import MAX_ERROR, CheckedCommand, Flag, Number, Refused, Rows, Secret, Text
from nbdtun.errors import ConfigError, GuestLost, OutcomeUnknown, wire_errors
from nbdtun.migration.control.rows import BITMAPS, FINDINGS
from nbdtun.migration.ids import SESSION
from nbdtun.migration.settings import MAX_CONNECTIONS
from nbdtun.migration.vm.disks import MAX_DISKS
from nbdtun.migration.vm.hardware.wire import HardwareArgument
from nbdtun.versions import AGREED, OFFER, Speaks


class SessionId(amp.Argument):
    """The id of a session: 32 hexadecimal digits."""

    def fromString(self, data: bytes) -> str:
        text = data.decode("ascii", "replace")
        if not SESSION.match(text):
            raise Refused("not a session id")
        return text

    def toString(self, session: str) -> bytes:
        return session.encode()


#: What this release speaks. Query and Settle are the same in all versions: ends of any two releases can find out where a VM is.
MIGRATION = Speaks("the migration protocol")

#: Errors that the other end cannot report: a wrong option of ours; a lost guest, which is an answer; and an unknown outcome, except by the
#: one command that has an outcome.
NOT_ITS_TO_TELL = (ConfigError, GuestLost, OutcomeUnknown)

ERRORS = wire_errors(without=NOT_ITS_TO_TELL)
ERRORS_OF_FINISH = wire_errors(without=(ConfigError, GuestLost))

#: The longest that a guest is watched after its arrival, in milliseconds.
MAX_SETTLE = 600_000

#: The longest time, in milliseconds, for which a guest stood still.
MAX_DOWNTIME = 86_400_000


_DISK = tuple((name, Text()) for name in (b"node", b"device", b"qdev", b"format", b"place", b"serial", b"image", b"cache"))

#: The session's secret, which every command about it tells under TLS.
SECRET = (b"secret", Secret(optional=True))

#: The source's part in both Check and Prepare: its hardware, its disks with their bitmaps, and the names in which the machines may differ.
WANTED = (
    *OFFER,
    (b"vm", Text()),
    (b"hardware", HardwareArgument()),
    (b"disks", Rows([*_DISK, (b"size", Number()), (b"allocated", Number(optional=True))], MAX_DISKS)),
    (b"bitmaps", BITMAPS),
    (b"allowed", Rows([(b"name", Text())], MAX_DISKS)),
)


class Prepare(CheckedCommand):
    """
    Check ``vm``, its ``hardware`` and its ``disks``, and serve them.

    The answer has the target for NBD connections, the findings, and a mark of the QEMU there, by which a source knows it again. Both ends
    compute the name of the export of disk number n by :func:`~nbdtun.migration.ids.block_name`, so that no name of the peer's choosing
    reaches a monitor.
    """

    arguments: ClassVar = [(b"session", SessionId()), SECRET, *WANTED]
    response: ClassVar = [*AGREED, (b"target", Text()), (b"findings", FINDINGS), (b"qemu", Text(optional=True))]
    errors = ERRORS


class Listen(CheckedCommand):
    """
    Let the destination QEMU wait for its memory, over so many ``connections`` beside the main one, and for these ``bitmaps``.

    The answer has the target of the migration stream, and the bitmaps that the destination takes; and the same ``connections``, if it can
    take so many.
    """

    _connections: ClassVar = (b"connections", Number(MAX_CONNECTIONS, optional=True, least=1))
    arguments: ClassVar = [(b"session", SessionId()), SECRET, (b"bitmaps", BITMAPS), _connections]
    response: ClassVar = [(b"target", Text()), (b"bitmaps", BITMAPS), _connections]
    errors = ERRORS


class Finish(CheckedCommand):
    """
    The source has sent everything and is paused: take over, and let the guest run if ``run``. Then watch it for ``settle`` milliseconds.

    The answer comes before that, the answer to Settle after it.

    Any error except ``unknown`` means that the guest does not run here, and never will by this session.
    """

    arguments: ClassVar = [(b"session", SessionId()), SECRET, (b"run", Flag()), (b"settle", Number(MAX_SETTLE))]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = ERRORS_OF_FINISH


#: The reason that a session has when its source has aborted it; it explains nothing to that source.
BY_SOURCE = "the source aborted it"


class Abort(CheckedCommand):
    """Undo the session. The answer has its state: ``finished`` if it was too late."""

    arguments: ClassVar = [(b"session", SessionId()), SECRET]
    response: ClassVar = [(b"state", Text())]
    errors = ERRORS


class Query(CheckedCommand):
    """
    Ask for the state of ``session`` and of ``vm``.

    ``state`` is the session's (see :class:`nbdtun.migration.destination.session.State`), or ``unknown`` after a restart of the daemon;
    ``machine`` is QEMU's present run state (``running``, ``paused``, ``inmigrate``...), or ``unreachable``.
    """

    arguments: ClassVar = [(b"session", SessionId()), SECRET, (b"vm", Text())]
    response: ClassVar = [(b"state", Text()), (b"machine", Text()), (b"reason", Text(MAX_ERROR))]
    errors = ERRORS


class Outcome(enum.StrEnum):
    """The answer to :class:`Settle`."""

    ARRIVED = "arrived"
    #: It has run at the destination, and its guest is lost there: it has crashed, or shut down, or its QEMU has ended.
    LOST = "lost"
    #: It has not run at the destination, and its QEMU there was ended, so that it never will.
    GONE = "gone"
    #: QEMU there has received nothing, but it may be another QEMU than the session's; only if the destination does not know the session.
    FRESH = "fresh"


class Settled(amp.Argument):
    """An outcome; it decides whether the source's guest runs on."""

    def fromString(self, data: bytes) -> Outcome:
        try:
            return Outcome(data.decode("ascii", "replace"))
        except ValueError as unknown:
            raise Refused("not an outcome") from unknown

    def toString(self, outcome: Outcome) -> bytes:
        return outcome.value.encode()


class Settle(CheckedCommand):
    """
    End a migration of ``vm``, and answer whether the VM has arrived; for one that has, after its guest was watched.

    ``session`` is its session, if the source knows it. ``downtime`` is for how many milliseconds its guest stood still, if the source knows
    that. ``reason`` is why a guest is lost.
    """

    arguments: ClassVar = [
        (b"vm", Text()),
        (b"session", SessionId(optional=True)),
        SECRET,
        (b"downtime", Number(MAX_DOWNTIME, optional=True)),
    ]
    response: ClassVar = [(b"outcome", Settled()), (b"reason", Text(MAX_ERROR))]
    errors = ERRORS


class Trouble(CheckedCommand):
    """From the destination: the session has failed there."""

    arguments: ClassVar = [(b"session", SessionId()), (b"code", Text()), (b"reason", Text(MAX_ERROR))]
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    requiresAnswer = False


class Room(CheckedCommand):
    """Ask how many bytes of memory are free for guests at the destination's host. A release that does not know this command refuses it."""

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response: ClassVar = [(b"memory", Number())]
    errors = ERRORS


class Ping(CheckedCommand):
    """Ask for a sign of life. The destination does so when a second session wants the same VM, the source to measure the round trip."""

    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    errors = ERRORS
