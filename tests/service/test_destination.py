"""The destination's service: what can be reached through it, and that nothing is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError

from nbdtun.config import TunnelSettings
from nbdtun.errors import ConfigError, TargetUnknown
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.settings import CONTROL, SINK
from tests.service.stage import Way

NOBODY = Caller("a local peer", "local")


@pytest_twisted.ensureDeferred
async def test_bytes_go_through_to_the_target_and_back(base: Path) -> None:
    way = Way(base)
    source, destination, port = way.source(), way.destination(), await way.serve()
    destination.startService()
    source.startService()
    program = await way.enter()
    assert await program.ask(bytes(100_000)) == bytes(100_000)
    assert not destination.tunnel.idle
    await destination.stopService()
    assert destination.tunnel.idle
    await program.gone
    await source.stopService()
    await port.stopListening()
    assert way.left() == []


@pytest_twisted.ensureDeferred
async def test_a_target_that_is_not_there_is_the_sources_to_tell(base: Path, said: list[str]) -> None:
    way = Way(base)
    source, destination = way.source(), way.destination()
    destination.startService()
    source.startService()
    await (await way.enter()).gone
    assert any("target nbd" in line and "No such file" in line for line in said), said
    await source.stopService()
    await destination.stopService()


def test_what_it_serves_beside_its_targets(base: Path) -> None:
    """The control channel and the sink are there for VMs that may arrive, and only for them."""
    targets = Way(base).destination().tunnel.targets
    for name in ("nbd", CONTROL, SINK):
        assert targets.find(name, NOBODY) is not None
    with pytest.raises(TargetUnknown):
        targets.find("ram", NOBODY)


def test_certificates_are_read_when_it_is_made(base: Path) -> None:
    way = Way(base)
    way.settings = TunnelSettings(tls_dir=f"{base}/none")
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        way.destination()


@pytest_twisted.ensureDeferred
async def test_one_that_is_drained_waits_for_its_channels_and_begins_none(base: Path, said: list[str]) -> None:
    way = Way(base)
    source, destination, port = way.source(), way.destination(), await way.serve()
    destination.startService()
    source.startService()
    program = await way.enter()
    assert await program.ask(b"ping") == b"ping"
    draining = destination.drain()
    (channel,) = destination.tunnel.channels
    line = f"shutting down: waiting up to 10 min (--drain-timeout) for channel {channel.name}; a second signal ends it now"
    assert line in said
    await (await way.enter()).gone
    assert any("target nbd: the destination's daemon is shutting down" in text for text in said)
    assert await program.ask(b"still") == b"still"
    program.transport.loseConnection()  # type: ignore[union-attr]
    await draining
    assert said.count(line) == 1
    await destination.stopService()
    await source.stopService()
    await port.stopListening()  # type: ignore[misc]
    assert way.left() == []


@pytest_twisted.ensureDeferred
async def test_when_the_time_is_up_channels_are_ended_by_name(base: Path, said: list[str]) -> None:
    way = Way(base)
    source, destination, port = way.source(), way.destination(drain_timeout=0.05), await way.serve()
    destination.startService()
    source.startService()
    program = await way.enter()
    assert await program.ask(b"ping") == b"ping"
    (channel,) = destination.tunnel.channels
    await destination.drain()
    await program.gone
    assert f"--drain-timeout (50 ms) has passed: ending channel {channel.name}" in said
    await destination.stopService()
    await source.stopService()
    await port.stopListening()  # type: ignore[misc]


@pytest_twisted.ensureDeferred
async def test_a_wait_that_is_cancelled_leaves_the_rest_to_the_stop(base: Path) -> None:
    way = Way(base)
    source, destination, port = way.source(), way.destination(), await way.serve()
    destination.startService()
    source.startService()
    program = await way.enter()
    assert await program.ask(b"ping") == b"ping"
    draining = destination.drain()
    draining.cancel()
    with pytest.raises(CancelledError):
        await draining
    await destination.stopService()
    await program.gone
    await source.stopService()
    await port.stopListening()  # type: ignore[misc]
    assert way.left() == []


@pytest_twisted.ensureDeferred
async def test_one_with_nothing_under_way_is_drained_at_once_and_says_nothing(base: Path, said: list[str]) -> None:
    destination = Way(base).destination()
    destination.startService()
    await destination.drain()
    await destination.stopService()
    assert not any("shutting down" in line for line in said)
