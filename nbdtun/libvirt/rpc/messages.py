"""libvirt's RPC messages (src/rpc/virnetprotocol.x)."""

from __future__ import annotations

from attrs import frozen


@frozen
class Message:
    """One whole message."""

    program: int
    version: int
    procedure: int
    kind: int
    serial: int
    status: int
    body: bytes
