"""
The commands between a daemon's main process and its workers: AMP over a pair of UNIX sockets, which can pass descriptors (SCM_RIGHTS).

The main process asks, the worker answers::

    Begin   the first question: with these settings, and this bandwidth limit
    Settle  these are the settings, or the limit, from now on
    Make    at a destination: have a new channel to this local socket
    Resume  a link of a channel is about to come
    Attach  it is this connection
    Open    at a source: open a channel for this local socket; answered once it is open
    Act     do with a channel what :data:`ACTS` names
    Look    tell the figures of all channels now

The worker tells by itself the figures of channels that have changed (``Told``), each second at most, or when a link is lost or back; that
all was delivered through a channel (``Delivered``), or it has ended (``Ended``); and what its log has (``Line``). It asks for the farewell
of a channel's program (``Part``). Both are of one release: a worker that is of another one refuses to begin.
"""

from __future__ import annotations

from typing import ClassVar, Final

from twisted.protocols import amp

from nbdtun.amp import CheckedCommand, Flag, Number, Object, Text, Value
from nbdtun.errors import wire_errors
from nbdtun.service.local.descriptors import Crossing
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.opening.commands import MAX_OFFSET, MAX_TARGET, Ident

#: The methods of :class:`~nbdtun.tunnel.channels.carried.Carried` that the main process may call.
ACTS: Final = ("abandoned", "cut", "reset", "refused", "leave")

_RATE: Final = (b"rate", Number(optional=True))


class _Asked(CheckedCommand):
    errors = wire_errors()
    fatal = False
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []


class Begin(_Asked):
    """
    With ``settings``, pickled; ``bucket`` is that of the limit of ``rate`` bytes per second, which all processes keep together. ``spare``
    bytes are its part of what large windows have.
    """

    arguments: ClassVar = [(b"release", Text()), (b"settings", amp.String()), (b"spare", Number()), _RATE, (b"bucket", Crossing())]


class Settle(_Asked):
    """The ``settings`` from now on, if they are others; and the rate, without which there is no limit."""

    arguments: ClassVar = [(b"settings", amp.String(optional=True)), _RATE]


class Make(_Asked):
    """Have the channel, with the socket of its target."""

    arguments: ClassVar = [
        (b"channel", Ident()),
        (b"target", Text(MAX_TARGET)),
        (b"window", Number(MAX_OFFSET)),
        (b"urgent", Flag()),
        (b"sock", Crossing()),
    ]


class Resume(_Asked):
    """The other end has ``received`` bytes. The link that comes has the number ``turn``: one that an older answer was for is not taken."""

    arguments: ClassVar = [(b"channel", Ident()), (b"received", Number(MAX_OFFSET))]
    response: ClassVar = [(b"received", Number(MAX_OFFSET)), (b"window", Number(MAX_OFFSET)), (b"turn", Number())]


class Attach(_Asked):
    """The link: its socket, and the state of its TLS."""

    arguments: ClassVar = [
        (b"channel", Ident()),
        (b"turn", Number()),
        (b"state", Value(LinkState, optional=True)),
        (b"sock", Crossing()),
    ]


class Open(_Asked):
    """Open the channel, for the socket of a local program; with its ``secret`` and that of a ``session``, and a ``farewell`` to ask for."""

    arguments: ClassVar = [
        (b"channel", Ident()),
        (b"target", Text(MAX_TARGET)),
        (b"urgent", Flag()),
        (b"secret", amp.String()),
        (b"session", amp.String()),
        (b"farewell", Flag()),
        (b"sock", Crossing()),
    ]


class Act(_Asked):
    """Do ``what``, for the reason that an error of this ``code`` has."""

    requiresAnswer = False
    arguments: ClassVar = [(b"channel", Ident()), (b"what", Text()), (b"code", Text()), (b"reason", Text(4096))]


class Look(_Asked):
    """Tell all figures, before the answer."""


class Told(_Asked):
    """The ``figures`` of channels, by their ids in hexadecimal: the fields of a :class:`~nbdtun.tunnel.channels.figures.Figures`."""

    requiresAnswer = False
    arguments: ClassVar = [(b"figures", Object())]


class Delivered(_Asked):
    """All that the channel's local program has sent, with its end, is in the socket of the other one."""

    requiresAnswer = False
    arguments: ClassVar = [(b"channel", Ident())]


class Part(_Asked):
    """The channel's local program is about to hear of an end that it has not asked for; it does after the answer."""

    arguments: ClassVar = [(b"channel", Ident())]


class Ended(_Asked):
    """A channel has ended, with its last ``figures``; without a ``code`` it is complete."""

    requiresAnswer = False
    arguments: ClassVar = [
        (b"channel", Ident()),
        (b"figures", Object()),
        (b"code", Text(optional=True)),
        (b"reason", Text(4096, optional=True)),
    ]


class Line(_Asked):
    """An ``event`` of the log: its namespace, level and format, and its values."""

    requiresAnswer = False
    arguments: ClassVar = [(b"event", Object())]
