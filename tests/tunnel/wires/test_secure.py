"""Which wire a new connection gets."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nbdtun.tls import contexts
from nbdtun.tunnel.protocol.slab import SlabPool
from nbdtun.tunnel.settings import Records
from nbdtun.tunnel.wires.batched import BatchedWire
from nbdtun.tunnel.wires.secure import Security
from nbdtun.tunnel.wires.tls import TLSWire
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.user import User


@pytest.mark.parametrize("name", ["localhost", None])
@pytest.mark.parametrize(("records", "kind", "rekeys"), [(Records.BATCHED, BatchedWire, True), (Records.LIBRARY, TLSWire, False)])
def test_each_end_has_either(crank: Crank, tls_dir: Path, records: Records, kind: type, rekeys: bool, name: str | None) -> None:
    ours, theirs = socket.socketpair()
    context = contexts.server_context(tls_dir) if name is None else contexts.client_context(tls_dir)
    wire = Security(context, records, name).wire(crank, ours, User(), SlabPool())
    assert type(wire) is kind
    assert wire.rekeys is rekeys
    assert not wire.plain
    wire.close()
    theirs.close()
