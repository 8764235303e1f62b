"""
The handover, as the source's end of libvirt's connection sees it: from the call that lets the guest run at the destination to its answer.

libvirt facts (9.0 and 11, qemu_migration.c): if that connection is lost between the two, the source's libvirt takes the migration for
failed, and lets its guest run on. The guest may run at the destination by then. So libvirt must not hear of that loss before it is known
what has become of the guest. If it runs there, libvirt gets the answer from us, and ends the domain here as it always does.

A process that is killed closes its sockets. So before the call passes, another process is given libvirt's connection as well: then libvirt
waits for that one (:class:`Held`).
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from nbdtun.errors import NbdtunError, ProtocolViolation
from nbdtun.libvirt.rpc.gate import hands_over, keeps_alive
from nbdtun.libvirt.rpc.keepalive import ANSWER
from nbdtun.libvirt.rpc.messages import Kind, Message, Reader
from nbdtun.libvirt.rpc.procedures import PING
from nbdtun.libvirt.rpc.proxy import Proxy
from nbdtun.libvirt.rpc.refusal import refuse
from nbdtun.libvirt.rpc.xdr import opaque, string, uint
from nbdtun.process import Reactor, adopt, quiet_factory


class SourceProxy(Proxy):
    """
    The source's end of libvirt's connection, which knows whether a handover is under way.

    ``begins`` is called with the call that hands over, before it passes, and with the descriptor of libvirt's connection. If it raises
    NbdtunError or OSError, libvirt gets that as its answer. ``parted``: the channel has ended.

    From the handover on, the keepalive is answered here, even with a link: a libvirtd at the destination that hangs may go on, and let the
    guest run, after the one here has given it up.
    """

    def __init__(
        self,
        reactor: Reactor,
        libvirtd: socket.socket,
        channel: socket.socket,
        *,
        away: Callable[[], bool],
        begins: Callable[[Message, int], object],
    ) -> None:
        self._finish: Message | None = None
        self._begins = begins
        self.parted = False
        super().__init__(reactor, libvirtd, channel, away=lambda: self.hands_over or self.parted or away())

    @property
    def hands_over(self) -> bool:
        """Whether libvirt waits for the answer that the guest runs at the destination."""
        return self._finish is not None

    def conclude(self, name: str, uuid: str) -> None:
        """Tell libvirt that the domain runs at the destination, if it waits for that."""
        finish, self._finish = self._finish, None
        if finish is not None:
            self._local.send(arrived(finish, name, uuid))

    def _from_local(self, message: Message) -> None:
        if hands_over(message):
            try:
                self._begins(message, self._local.transport.fileno())
            except (NbdtunError, OSError) as error:
                self._local.send(refuse(message, f"{error}"))
                return
            self._finish = message
        super()._from_local(message)

    def _from_far(self, message: Message) -> None:
        if self._finish is not None and (message.kind, message.serial) == (Kind.REPLY, self._finish.serial):
            self._finish = None
        super()._from_far(message)


def arrived(finish: Message, name: str, uuid: str) -> Message:
    """The answer to ``finish`` (remote_domain_migrate_finish3_params_ret): the domain, with any id, and no cookie."""
    body = string(name) + UUID(uuid).bytes + uint(1) + opaque(b"")
    return Message(finish.program, finish.version, finish.procedure, Kind.REPLY, finish.serial, body=body)


class Held(Protocol):
    """
    The connection ``sock`` of a libvirt that waits for the answer to ``finish``; its keepalive is answered until then.

    ``closed`` fires with None when the connection is closed, by either end.
    """

    transport: Any

    def __init__(self, reactor: Reactor, sock: socket.socket, finish: Message) -> None:
        self.closed: Deferred[None] = Deferred()
        self._finish = finish
        self._reader = Reader()
        with sock:
            sock.setblocking(False)
            adopt(reactor, sock, quiet_factory(lambda: self))

    def __repr__(self) -> str:
        return f"<Held call {self._finish.serial} {'closed' if self.closed.called else 'open'}>"

    def conclude(self, name: str, uuid: str) -> None:
        """Tell libvirt that the domain runs at the destination, and close: it would wait for more answers."""
        self.transport.write(arrived(self._finish, name, uuid).encode())
        self.transport.loseConnection()

    def let_go(self) -> None:
        """Tell libvirt nothing, so that it lets its guest run on here; safe to repeat."""
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """libvirt asks whether somebody is there."""
        try:
            for message in self._reader.feed(data):
                if keeps_alive(message, PING):
                    self.transport.write(ANSWER.encode())
        except ProtocolViolation:  # the half of a message that another process has begun to read
            self._reader = Reader()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is closed."""
        self.closed.callback(None)
