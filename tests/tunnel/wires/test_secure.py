"""Which wire a new connection gets."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nbdtun.errors import TLSError
from nbdtun.tls import contexts
from nbdtun.tunnel.protocol.slab import SlabPool
from nbdtun.tunnel.settings import Records
from nbdtun.tunnel.wires.batched import BatchedWire
from nbdtun.tunnel.wires.secure import Moved, Security
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


def test_a_plain_connection_moves_as_it_is(crank: Crank) -> None:
    ours, theirs = socket.socketpair()
    first, second = User(), User()
    first.wire = Moved(None).wire(crank, ours, first, SlabPool())
    sock, state = first.wire.move()
    assert state is None
    assert first.wire.closed
    second.wire = Moved(state).wire(crank, sock, second, SlabPool())
    second.wire.listen(True)
    theirs.send(b"a line")
    crank.rest()
    assert second.got == b"a line"
    second.wire.close()
    theirs.close()


def test_openssls_records_stay_where_they_are(crank: Crank, tls_dir: Path) -> None:
    ours, theirs = socket.socketpair()
    wire = Security(contexts.server_context(tls_dir), Records.LIBRARY).wire(crank, ours, User(), SlabPool())
    with pytest.raises(TLSError, match="stays in its process") as caught:
        wire.move()
    assert "--records batched" in caught.value.line
    assert not wire.closed
    wire.close()
    theirs.close()
