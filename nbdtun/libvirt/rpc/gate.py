"""The gate at the destination: the calls of a peer-to-peer migration of one domain pass, and no others."""

from __future__ import annotations

from attrs import define

from nbdtun.libvirt.rpc.grant import Grant
from nbdtun.libvirt.rpc.messages import Message


@define
class Gate:
    """Judges the messages of one connection. ``refused`` is the last refusal's text, empty before there is one."""

    _grant: Grant
    refused: str = ""

    def call(self, message: Message) -> Message | None:
        """
        Judge what the source's libvirtd sends: None if it passes, else the answer to send back in the place of libvirtd's.

        :raise ProtocolViolation: it is nothing that can be answered; the connection must end.
        """
        raise NotImplementedError

    def answer(self, message: Message) -> bool:
        """Tell whether what the destination's libvirtd sends may pass."""
        raise NotImplementedError
