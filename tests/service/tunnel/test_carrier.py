"""The tunnel as the migration sees it: both ends in one process, real sockets."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_twisted
from attrs import frozen
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol

from nbdtun.errors import ChannelReset, TargetUnknown, TunnelError
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import Ping
from nbdtun.migration.progress import LinkState
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.tunnel.carrier import TunnelCarrier, TunnelEgress
from nbdtun.tunnel.destination.server import Destination
from tests.service.stage import Asking, Way


@frozen
class Ends:
    """A carrier, and the destination that it leads to."""

    carrier: TunnelCarrier
    destination: Destination
    way: Way

    def egress(self) -> TunnelEgress:
        (self.way.base / "1").mkdir()
        return TunnelEgress(reactor, self.destination, self.way.base / "1", {os.getuid()})


@asynccontextmanager
async def ends(base: Path) -> AsyncIterator[Ends]:
    way = Way(base)
    source, destination, port = way.source(), way.destination(), await way.serve()
    destination.startService()
    rundir = RunDir(str(base))
    yield Ends(TunnelCarrier(reactor, source.tunnel, rundir), destination.tunnel, way)
    await source.tunnel.stop()
    await destination.stopService()
    await port.stopListening()  # type: ignore[misc]
    rundir.remove()


async def connected(path: str) -> Asking:
    program: Asking = await connectProtocol(UNIXClientEndpoint(reactor, path), Asking())
    return program


@pytest_twisted.ensureDeferred
async def test_what_connects_reaches_the_target(base: Path) -> None:
    async with ends(base) as both:
        ingress = await both.carrier.enter("nbd", "nbd")
        assert stat.S_IMODE(Path(ingress.path).stat().st_mode) == 0o600
        program = await connected(ingress.path)
        assert await program.ask(b"ping") == b"ping"
        assert program.transport is not None
        program.transport.loseConnection()
        await ingress.drained()
        assert (ingress.trouble, both.carrier.link) == (None, LinkState(sent=4))
        await ingress.close()
        assert not Path(ingress.path).exists()


@pytest_twisted.ensureDeferred
async def test_why_a_channel_failed_is_known(base: Path) -> None:
    async with ends(base) as both:
        ingress = await both.carrier.enter("ram", "ram", urgent=True)
        await (await connected(ingress.path)).gone
        assert isinstance(ingress.trouble, TargetUnknown)
        with pytest.raises(TunnelError):
            await ingress.drained()
        await ingress.close()


@pytest_twisted.ensureDeferred
async def test_closing_resets_what_is_left(base: Path) -> None:
    async with ends(base) as both:
        ingress = await both.carrier.enter("nbd", "nbd")
        program = await connected(ingress.path)
        await program.ask(b"ping")
        await ingress.close()
        await program.gone


@pytest_twisted.ensureDeferred
async def test_a_session_admits_and_dismisses(base: Path) -> None:
    async with ends(base) as both:
        egress = both.egress()
        egress.admit("nbd.1", str(both.way.exit))
        ingress = await both.carrier.enter("nbd.1", "nbd")
        program = await connected(ingress.path)
        assert await program.ask(b"ping") == b"ping"
        await egress.dismiss()
        await program.gone
        assert isinstance(ingress.trouble, ChannelReset)
        await (await connected(ingress.path)).gone
        assert isinstance(ingress.trouble, TargetUnknown)
        assert Path(egress.directory).is_dir()
        await egress.close()
        assert not Path(egress.directory).exists()
        await ingress.close()


@pytest_twisted.ensureDeferred
async def test_the_control_channel_is_answered(base: Path) -> None:
    async with ends(base) as both:
        control = await both.carrier.control(Control(reactor))
        assert await control.ask(Ping, seconds=5.0) == {}
        control.hang_up()
        await control.when_lost()


@pytest_twisted.ensureDeferred
async def test_a_control_channel_is_told_why_it_has_ended(base: Path) -> None:
    async with ends(base) as both:
        control = await both.carrier.control(Control(reactor))
        await control.ask(Ping, seconds=5.0)
        lost = control.when_lost()
        both.destination.reset("control", "the daemon is stopped")
        assert "the daemon is stopped" in str(await lost)


@pytest_twisted.ensureDeferred
async def test_how_fast_it_is_can_be_measured(base: Path) -> None:
    async with ends(base) as both:
        assert (await both.carrier.throughput()).rate > 1e6
