"""The answer to a call that does not pass: an error of libvirt's, so that whoever has called shows our line as he shows libvirt's own."""

from __future__ import annotations

from typing import Final

from nbdtun.errors import printable
from nbdtun.libvirt.rpc.messages import Kind, Message, Status
from nbdtun.libvirt.rpc.xdr import optional_string, uint

#: include/libvirt/virterror.h
VIR_ERR_ACCESS_DENIED: Final = 88
VIR_FROM_RPC: Final = 7
VIR_ERR_ERROR: Final = 2


def refuse(call: Message, text: str) -> Message:
    """Return the answer that ends ``call`` with ``text``; it has the call's serial number, as libvirt's client expects."""
    line = f"nbdtun: {printable(text)}"
    body = b"".join(
        (
            uint(VIR_ERR_ACCESS_DENIED),
            uint(VIR_FROM_RPC),
            optional_string(line),
            uint(VIR_ERR_ERROR),
            uint(0),  # no domain
            optional_string(line),
            optional_string(None),
            optional_string(None),
            uint(0),
            uint(0),
            uint(0),  # no network
        )
    )
    return Message(call.program, call.version, call.procedure, Kind.REPLY, call.serial, Status.ERROR, body)
