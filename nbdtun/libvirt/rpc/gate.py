"""
The gate at the destination: the calls of a peer-to-peer migration of one domain pass, and no others. Rules only: no socket, no clock.

A call that does not pass is answered here. libvirtd never sees it, and whoever called reads one line of ours as libvirt's error.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from nbdtun.errors import NbdtunError, NotAllowed, ProtocolViolation
from nbdtun.libvirt.rpc.arguments import migrating, opening
from nbdtun.libvirt.rpc.grant import Grant
from nbdtun.libvirt.rpc.messages import Kind, Message, Status
from nbdtun.libvirt.rpc.procedures import CLOSED_EVENT, KEEPALIVE, PING, PONG, REMOTE, VERSION, Procedure
from nbdtun.libvirt.rpc.refusal import refuse
from nbdtun.libvirt.rpc.xdr import MAX_STRING

#: The most bytes of a call that can pass: XML and a cookie of 4 MiB each, and a little more. It bounds what one connection makes us keep.
MAX_CALL: Final = 2 * MAX_STRING + 64 * 1024

#: Refusals of one connection, after which it ends: nobody who means well has so many, and each answer is kept until it is read.
MAX_REFUSALS: Final = 64


def keeps_alive(message: Message, procedure: int) -> bool:
    """Tell whether it is a PING, or a PONG."""
    found = message.program, message.version, message.procedure, message.kind
    return found == (KEEPALIVE, VERSION, procedure, Kind.MESSAGE)


def hands_over(message: Message) -> bool:
    """Tell whether it lets the guest run at the destination: a Finish whose last argument, *cancelled*, is 0."""
    found = message.program, message.procedure, message.kind
    return found == (REMOTE, Procedure.DOMAIN_MIGRATE_FINISH3_PARAMS, Kind.CALL) and message.body.endswith(bytes(4))


def answers(message: Message) -> bool:
    """Tell whether a source's libvirtd expects it of a destination's: an answer, the end of its driver, a keepalive."""
    known = (message.program, message.version) == (REMOTE, VERSION)
    if message.kind == Kind.REPLY:
        return message.status == Status.ERROR or (known and message.procedure in _KNOWN)
    closed = known and (message.kind, message.procedure) == (Kind.MESSAGE, CLOSED_EVENT)
    return closed or keeps_alive(message, PING) or keeps_alive(message, PONG)


@define
class Gate:
    """
    Judges the messages of one connection by ``grant``.

    ``refused`` is the last refusal's line, empty before there is one.
    """

    _grant: Grant
    refused: str = field(default="", init=False)
    _refusals: int = field(default=0, init=False)
    _seen: list[int] = field(factory=list, init=False)

    def call(self, message: Message) -> Message | None:
        """
        Judge what the source's libvirtd sends: None if it passes, else the answer to send back in the place of libvirtd's.

        :raise ProtocolViolation: it is nothing that can be answered, or refused once too often; the connection must end.
        """
        if keeps_alive(message, PING) or keeps_alive(message, PONG):
            return None
        if message.kind not in (Kind.CALL, Kind.CALL_WITH_FDS):
            raise ProtocolViolation(f"a source's message of libvirt's RPC of type {message.kind}, which no migration needs")
        try:
            self._judge(message)
        except NbdtunError as error:
            self.refused = error.line
            self._refusals += 1
            if self._refusals > MAX_REFUSALS:
                raise ProtocolViolation(f"more than {MAX_REFUSALS} calls of libvirt that do not pass") from None
            return refuse(message, f"{error}")
        return None

    def answer(self, message: Message) -> bool:
        """Tell whether what the destination's libvirtd sends passes."""
        return answers(message)

    def _judge(self, message: Message) -> None:
        if (message.program, message.version) != (REMOTE, VERSION) or message.procedure not in _KNOWN or message.kind != Kind.CALL:
            raise NotAllowed(
                f"this connection is for the migration of {self._grant.name} only: "
                f"libvirt's procedure {message.procedure} of program {message.program:#x} does not go through the tunnel"
            )
        if message.procedure == Procedure.CONNECT_OPEN:
            self._grant.check_opening(opening(message.body))
        elif message.procedure in _ONCE:
            self._check_order(message.procedure)
            call = migrating(message.body, finish=message.procedure == Procedure.DOMAIN_MIGRATE_FINISH3_PARAMS)
            if message.procedure == Procedure.DOMAIN_MIGRATE_PREPARE3_PARAMS:
                self._grant.check_prepare(call)
            else:
                self._grant.check_finish(call)

    def _check_order(self, procedure: int) -> None:
        """A migration is prepared once and finished once. That also bounds the XML that one connection makes us read."""
        if [*self._seen, procedure] != [*_ONCE[: len(self._seen) + 1]]:
            raise NotAllowed(f"libvirt's procedure {procedure} is called once on a connection, and {_ONCE[0]} before {_ONCE[1]}")
        self._seen.append(procedure)


_KNOWN: Final = frozenset(Procedure)
_ONCE: Final = (Procedure.DOMAIN_MIGRATE_PREPARE3_PARAMS, Procedure.DOMAIN_MIGRATE_FINISH3_PARAMS)
