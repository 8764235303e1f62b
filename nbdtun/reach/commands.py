"""
The dialogue with the far end, over ssh's standard input and output, or over any other connection whose ends trust each other.

It begins with a line from each end, before AMP. The near end says what the connection is for, ``talk`` or ``link PROOF``. The far end
answers with its marker: ``nbdtun-receive/1 VERSION PROOF``. All that comes before the marker is skipped: login shells print.
``docs/ssh`` specifies it.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from twisted.protocols import amp

from nbdtun.amp import CheckedCommand, Flag, Number, Object, Refused, Rows, Text
from nbdtun.errors import NbdtunError, wire_errors

#: The version of the dialogue; both ends must have the same.
VERSION: Final = 1

#: Begins the far end's first line.
MARKER: Final = b"nbdtun-receive/"

#: A certificate of one elliptic key has some 500 bytes.
MAX_CERTIFICATE: Final = 4096
MAX_ADDRESSES: Final = 64
MAX_TARGETS: Final = 64


class Bytes(amp.Argument):
    """At most ``limit`` bytes."""

    def __init__(self, limit: int, optional: bool = False) -> None:
        super().__init__(optional=optional)
        self.limit = limit

    def fromString(self, data: bytes) -> bytes:
        if len(data) > self.limit:
            raise Refused(f"{len(data)} bytes are too many (the limit is {self.limit})")
        return data

    def toString(self, data: bytes) -> bytes:
        return data


class _Asked(CheckedCommand):
    response: ClassVar[list[Any]] = []
    errors = wire_errors(NbdtunError)
    fatal = False


class Receive(_Asked):
    """
    Be ready to receive from the source with this ``certificate``, besides those of other near ends that are still there.

    ``qmp`` is the QMP socket of the QEMU that waits; empty: the usual place, until :class:`Make` has made one. ``targets`` are for a tunnel
    alone. ``libvirt`` is the URI of the libvirt there that receives the VM. ``ports`` is ``FIRST-LAST``, empty for the kernel's choice.

    The answer has the far end's certificate, the ``name`` in it, the ``port`` and the ``addresses`` where it listens, and the ``secret``
    with which links through ssh prove both ends. ``waits`` is whether a QEMU waits for the VM.
    """

    arguments: ClassVar = [
        (b"certificate", Bytes(MAX_CERTIFICATE)),
        (b"qmp", Text(107)),
        (b"targets", Rows([(b"target", Text(512))], limit=MAX_TARGETS)),
        (b"ports", Text(11)),
        (b"resume_window", Number(7 * 86400 * 1000)),
        (b"libvirt", Text(16, optional=True)),
    ]
    response: ClassVar = [
        (b"certificate", Bytes(MAX_CERTIFICATE)),
        (b"name", Text(64)),
        (b"port", Number(65535)),
        (b"addresses", Rows([(b"address", Text(64))], limit=MAX_ADDRESSES)),
        (b"secret", Bytes(64)),
        (b"waits", Flag()),
    ]


class Look(_Asked):
    """What there is at the far end: :meth:`nbdtun.reach.maker.Maker.look`."""

    arguments: ClassVar = [(b"wanted", Object())]
    response: ClassVar = [(b"found", Object())]


class Make(_Asked):
    """Make the destination: :meth:`nbdtun.reach.maker.Maker.make`. The far end receives the VM there."""

    arguments: ClassVar = [(b"plan", Object())]
    response: ClassVar = [(b"qmp", Text(107))]


class Remove(_Asked):
    """Remove what was made: :meth:`nbdtun.reach.maker.Maker.remove`."""


class Keep(_Asked):
    """Never remove what was made: :meth:`nbdtun.reach.maker.Maker.keep`."""


class Acknowledge(_Asked):
    """
    The source with this ``certificate`` needs nothing any more. ``settled``: the outcome is known there, so it can be forgotten here.

    When no source is left and nothing is under way, the far end ends by itself.
    """

    arguments: ClassVar = [(b"certificate", Bytes(MAX_CERTIFICATE)), (b"settled", Flag())]
