"""
The handover, as the source's end of libvirt's connection sees it: from the call that lets the guest run at the destination to its answer.

libvirt facts (9.0 and 11, qemu_migration.c): if that connection is lost between the two, the source's libvirt takes the migration for
failed, and lets its guest run on. The guest may run at the destination by then. So libvirt must not hear of that loss before it is known
what has become of the guest. If it runs there, libvirt gets the answer from us, and ends the domain here as it always does.
"""

from __future__ import annotations

from uuid import UUID

from nbdtun.libvirt.rpc.gate import hands_over
from nbdtun.libvirt.rpc.messages import Kind, Message
from nbdtun.libvirt.rpc.proxy import Proxy
from nbdtun.libvirt.rpc.xdr import opaque, string, uint


class SourceProxy(Proxy):
    """The source's end of libvirt's connection, which knows whether a handover is under way."""

    _finish: Message | None = None

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
