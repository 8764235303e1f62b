"""The tunnel as the near end uses it: both ends in one process, real sockets; not libvirt's, which has real libvirtds elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol

from nbdtun.errors import ConfigError, ProtocolViolation
from nbdtun.libvirt.near.way import Handover
from nbdtun.service.libvirt.way import TunnelWay
from nbdtun.service.local.rundir import RunDir
from tests.service.stage import Asking, Way

SESSION = "0123456789abcdef" * 2


async def lost() -> None:
    """Nobody hands over."""


HANDOVER = Handover(lambda: None, lost)


@pytest_twisted.ensureDeferred
async def test_sockets_are_in_the_sessions_directory_and_are_removed_with_it(base: Path) -> None:
    way = Way(base)
    source, destination, port = way.source(), way.destination(), await way.serve()
    destination.startService()
    tunnel = TunnelWay(reactor, source.tunnel, RunDir(str(base)), [str(base)])
    with pytest.raises(ConfigError, match="no directory"):
        await tunnel.enter("nbd", "disks.sock")
    await tunnel.make(f"{base}/{SESSION}", SESSION, None, HANDOVER)
    ingress = await tunnel.enter("nbd", "disks.sock")
    await tunnel.enter("nbd", "libvirt.sock")
    assert sorted(os.listdir(base / SESSION)) == ["disks.sock", "libvirt.sock"]
    program: Asking = await connectProtocol(UNIXClientEndpoint(reactor, ingress.path), Asking())
    assert await program.ask(b"through") == b"through"
    assert tunnel.link.up
    await tunnel.remove()
    await tunnel.remove()
    await program.gone
    assert SESSION not in os.listdir(base)
    await source.tunnel.stop()
    await destination.stopService()
    await port.stopListening()  # type: ignore[misc]


@pytest_twisted.ensureDeferred
async def test_a_directory_of_another_session_is_refused(base: Path) -> None:
    tunnel = TunnelWay(reactor, Way(base).source().tunnel, RunDir(str(base)))
    with pytest.raises(ProtocolViolation):
        await tunnel.make("/etc", SESSION, None, HANDOVER)
    await tunnel.remove()
