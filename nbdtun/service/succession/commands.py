"""
What two programs of one daemon ask each other: AMP over a pair of UNIX sockets, which descriptors cross with their messages (SCM_RIGHTS).

The new program asks, the old one answers::

    Succeed      it is ready: hold the listening sockets still
    Begun        it accepts connections from now on
    Obey         change what the new program was told to change
    Look         what is there of a channel, of a session's target, and of a source's channels
    Take         go on with a connection that was examined, and answer its question
    Whose        whether a VM or a session is there, and how many VMs arrive
    TakeControl  go on with the local end of a control channel
    Replaced     it was replaced itself, and who accepts connections now
    Heir         this is a line to the one that has replaced it, if it is killed
    Leave        the whole daemon is to stop

The old one tells ``Users`` by itself, and ``Elder``: a line to the one before it, if it is killed. The two may be of different releases, so
the first question offers versions.
"""

from __future__ import annotations

from typing import ClassVar

from attrs import frozen
from twisted.protocols import amp

from nbdtun.amp import CheckedCommand, Flag, Number, Object, Text, Value
from nbdtun.errors import wire_errors
from nbdtun.service.control.changes import Changes, Kept
from nbdtun.service.local.descriptors import Crossing
from nbdtun.tls.records.state import LinkState
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.allowlist import Rights
from nbdtun.tunnel.opening.commands import MAX_TARGET, Ident
from nbdtun.versions import AGREED, OFFER, Speaks

#: What this release speaks.
SUCCESSION = Speaks("the protocol between two programs of a daemon")

ERRORS = wire_errors()

#: The most characters of a source's account, which a certificate's name may be.
MAX_OWNER = 4096


@frozen
class Who:
    """A :class:`~nbdtun.tunnel.destination.admission.Caller` between two processes."""

    peer: str
    address: str
    identity: str
    name: str
    names: tuple[str, ...]
    everything: bool
    only: tuple[str, ...]

    @classmethod
    def of(cls, caller: Caller) -> Who:
        """What is told of ``caller``."""
        rights = caller.rights
        names, only = tuple(sorted(caller.names)), tuple(sorted(rights.only))
        return cls(caller.peer, caller.address, caller.identity, caller.name, names, rights.everything, only)

    @property
    def caller(self) -> Caller:
        """The caller that was told of."""
        rights = Rights(self.everything, frozenset(self.only))
        return Caller(self.peer, self.address, self.identity, self.name, frozenset(self.names), rights)


class _Asked(CheckedCommand):
    errors = ERRORS
    fatal = False
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []


class Succeed(_Asked):
    """
    Ask for the place. After the answer, the other process accepts nothing more; its local ``users`` have so many channels, it has ``kept``
    what was set by hand, its tunnel listens at ``ports``, with TLS if it is ``encrypted``, and its metrics are the ``figures``.
    """

    arguments: ClassVar = [*OFFER]
    response: ClassVar = [
        *AGREED,
        (b"users", Object()),
        (b"kept", Value(Kept, optional=True)),
        (b"ports", amp.ListOf(amp.Unicode(), optional=True)),
        (b"encrypted", Flag(optional=True)),
        (b"figures", Object(optional=True)),
    ]


class Begun(_Asked):
    """Tell that it is taken, and the endpoints on which the new process ``listens``."""

    requiresAnswer = False
    arguments: ClassVar = [(b"listens", amp.ListOf(amp.Unicode()))]


class Obey(_Asked):
    """Pass on what the daemon was told; the answer has a line for each process that has not taken it ``within`` so many seconds."""

    arguments: ClassVar = [(b"changes", Value(Changes)), (b"within", Number(60, least=1))]
    response: ClassVar = [(b"missed", amp.ListOf(amp.Unicode()))]


class Look(_Asked):
    """Ask what is there; see :class:`~nbdtun.tunnel.destination.elsewhere.Share`."""

    arguments: ClassVar = [(b"channel", Ident()), (b"target", Text(MAX_TARGET)), (b"owner", Text(MAX_OWNER))]
    response: ClassVar = [(b"channel", Flag()), (b"target", Flag()), (b"channels", Number()), (b"owned", Number())]


class Take(_Asked):
    """Pass a connection on: ``state`` is that of its TLS, ``box`` its question."""

    arguments: ClassVar = [
        (b"state", Value(LinkState, optional=True)),
        (b"caller", Value(Who)),
        (b"box", amp.String()),
        (b"sock", Crossing()),
    ]


class Whose(_Asked):
    """Ask whether a VM, a session, or a domain of libvirt's is there; ``arriving`` counts the VMs that arrive."""

    arguments: ClassVar = [(b"vm", Text(optional=True)), (b"session", Text(optional=True)), (b"uuid", Text(optional=True))]
    response: ClassVar = [(b"here", Flag()), (b"arriving", Number())]


class TakeControl(_Asked):
    """Pass a control channel on, and a file with what has been ``said`` over it and not answered: it may be longer than a field."""

    arguments: ClassVar = [(b"caller", Value(Who)), (b"said", Crossing()), (b"sock", Crossing())]


class Replaced(_Asked):
    """Tell that it was replaced ``by`` a process; 0: that one is gone, and it accepts connections again."""

    requiresAnswer = False
    arguments: ClassVar = [(b"by", Number())]


class Heir(_Asked):
    """Give it the line to the process after the next, for when this one is killed."""

    arguments: ClassVar = [(b"sock", Crossing())]


class Leave(_Asked):
    """Tell that the daemon is to stop, in good order; the second time, at once."""

    requiresAnswer = False


class Users(_Asked):
    """From the old process: its local ``users`` have so many channels now, and its metrics are the ``figures``, if it has some."""

    requiresAnswer = False
    arguments: ClassVar = [(b"users", Object()), (b"figures", Object(optional=True))]


class Elder(_Asked):
    """From the old process: the line to the one before it, ``pid``, for when this one is killed."""

    arguments: ClassVar = [(b"pid", Number()), (b"sock", Crossing())]
