"""
The AMP commands with which a link begins: one opens a channel, the other resumes it. A third one opens nothing.

The destination's answer to the former is the last box on the connection: both ends then switch to frames. See ``docs/protocol``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from attrs import frozen
from twisted.internet.interfaces import IProtocol
from twisted.protocols import amp

from nbdtun.amp import CheckedCommand, Flag, Number, Refused, Secret, Text
from nbdtun.errors import TunnelError, wire_errors
from nbdtun.tunnel.protocol.outbound import MIN_READ
from nbdtun.versions import AGREED, OFFER, Agreed, Features, Speaks

#: What this release speaks.
TUNNEL = Speaks("the tunnel's protocol")

#: Bytes of a channel's id. A resume also needs the channel's secret, and a name of the source that opened it.
IDENT_SIZE = 16

#: The largest offset that a frame can carry.
MAX_OFFSET = (1 << 64) - 1

#: The most characters of what may be a target's name: as many as a field has room for. A longer one than any name is unknown.
MAX_TARGET = 65_535

#: Bytes that are kept for each direction.
WINDOW = Number(MAX_OFFSET, least=MIN_READ)


#: The most characters of the reason for which a channel has ended.
MAX_REASON = 255


class Ident(amp.Argument):
    """A channel's id."""

    def fromString(self, data: bytes) -> bytes:
        if len(data) != IDENT_SIZE:
            raise Refused(f"a channel's id that has not {IDENT_SIZE} bytes")
        return data

    def toString(self, ident: bytes) -> bytes:
        return ident


@frozen
class Answer:
    """The destination's answer, and the protocol that it switches to."""

    link: IProtocol
    agreed: Agreed
    received: int
    window: int


class _Switching(CheckedCommand, amp.ProtocolSwitchCommand):
    """A command whose answer turns the connection into a link."""

    response: ClassVar = [*AGREED, (b"received", Number(MAX_OFFSET)), (b"window", WINDOW)]
    errors = wire_errors(TunnelError)
    fatal = False

    @classmethod
    def makeResponse(cls, objects: Any, proto: Any) -> amp.AmpBox:
        """Make the switching box. AMP provides no way to put values into it, but it is a dictionary like any other box."""
        box: amp.AmpBox = super().makeResponse(objects.link, proto)
        box[b"version"] = b"%d" % objects.agreed.version
        box[b"features"] = Features().toString(objects.agreed.features)
        box[b"received"] = b"%d" % objects.received
        box[b"window"] = b"%d" % objects.window
        return box


class Greet(CheckedCommand):
    """
    Ask whether this source would be admitted, and nothing else: the connection ends with the answer.

    A source that does not trust the destination's certificate tells it why instead: ``refusal`` is for its log.
    """

    arguments: ClassVar = [*OFFER, (b"refusal", Text(optional=True))]
    response: ClassVar = [*AGREED]
    errors = wire_errors(TunnelError)
    fatal = False


class OpenChannel(_Switching):
    """
    Open the channel ``channel`` (16 random bytes, chosen by the source) to ``target``.

    An ``urgent`` channel (memory, control) goes ahead of others where the destination has a bandwidth limit.
    ``window`` is the most bytes that the source is ready to keep for each direction. The answer's ``window``, never larger, is in force for
    both ends.
    ``secret`` is the channel's own, ``session`` that of the session whose target it is; both only under TLS.
    Repeated for an existing channel (its answer was lost with a link), the command resumes that channel.
    """

    arguments: ClassVar = [
        *OFFER,
        (b"channel", Ident()),
        (b"secret", Secret(optional=True)),
        (b"session", Secret(optional=True)),
        (b"target", Text(MAX_TARGET)),
        (b"window", WINDOW),
        (b"urgent", Flag(optional=True)),
    ]


class ResumeChannel(_Switching):
    """
    Resume ``channel``. The source has ``received`` bytes of it; the answer says how many the destination has.

    With ``ended``, the source's end of the channel is gone, and this is why: the destination ends it, too, and makes no link.
    """

    arguments: ClassVar = [
        *OFFER,
        (b"channel", Ident()),
        (b"secret", Secret(optional=True)),
        (b"received", Number(MAX_OFFSET)),
        (b"ended", Text(MAX_REASON, optional=True)),
    ]
