"""
The AMP commands with which a link begins: it opens a channel, or takes one up again.

The destination's answer is the last box on the connection: both ends then switch to frames. See ``docs/protocol``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import frozen
from twisted.internet.interfaces import IProtocol
from twisted.protocols import amp

from nbdtun.amp import CheckedCommand, Flag, Number, Refused
from nbdtun.errors import TunnelError, wire_errors
from nbdtun.tunnel.protocol.seal import CONTRIBUTION

#: The protocol's version; both ends must have the same.
VERSION = 1

#: Bytes of a channel's id; it is all that it takes, with the same certificate, to take a channel up again.
IDENT_SIZE = 16

#: The largest offset that a frame can carry.
MAX_OFFSET = (1 << 64) - 1


class Contribution(amp.Argument):
    """What an end contributes to a link's seals."""

    def fromString(self, data: bytes) -> bytes:
        """Take just as many bytes as it has."""
        if len(data) != CONTRIBUTION:
            raise Refused("not a contribution")
        return data

    def toString(self, contribution: bytes) -> bytes:
        """It is what it is."""
        return contribution


@frozen
class Answer:
    """What the destination answers, and the protocol that it switches to."""

    link: IProtocol
    received: int
    window: int
    seal: bytes | None


class _Switching(CheckedCommand, amp.ProtocolSwitchCommand):
    """A command after whose answer the connection is a link."""

    response: ClassVar = [(b"received", Number(MAX_OFFSET)), (b"window", Number(MAX_OFFSET)), (b"seal", Contribution(optional=True))]
    errors = wire_errors(TunnelError)
    fatal = False

    @classmethod
    def makeResponse(cls, objects: Any, proto: Any) -> amp.AmpBox:
        """Make the switching box; AMP's own has no room for values, but is a dictionary like any other box."""
        box: amp.AmpBox = super().makeResponse(objects.link, proto)
        box[b"received"] = b"%d" % objects.received
        box[b"window"] = b"%d" % objects.window
        if objects.seal is not None:
            box[b"seal"] = objects.seal
        return box


class OpenChannel(_Switching):
    """
    Open the channel ``channel`` (16 random bytes, chosen by the source) to ``target``.

    An ``urgent`` channel (memory, control) goes ahead of the others where the destination limits what it sends.
    ``window`` is how many bytes the source is ready to keep for each direction; the answer's, never larger, is in force for both ends.
    ``seal`` is what the source contributes to the link's keys, and the answer's what the destination does: then what follows is sealed
    with them (``nbdtun.tunnel.protocol.seal``), and else goes on under TLS, if there is any.
    Repeated for a channel that exists (its answer was lost with a link), it takes that up again.
    """

    arguments: ClassVar = [
        (b"version", Number(MAX_OFFSET)),
        (b"channel", amp.String()),
        (b"target", amp.Unicode()),
        (b"window", Number(MAX_OFFSET)),
        (b"urgent", Flag(optional=True)),
        (b"seal", Contribution(optional=True)),
    ]


class ResumeChannel(_Switching):
    """
    Take up ``channel`` again; the source has ``received`` bytes of it, the answer says how many the destination has.

    ``seal``: see :class:`OpenChannel`.
    """

    arguments: ClassVar = [
        (b"version", Number(MAX_OFFSET)),
        (b"channel", amp.String()),
        (b"received", Number(MAX_OFFSET)),
        (b"seal", Contribution(optional=True)),
    ]
