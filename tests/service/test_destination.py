"""The destination's service: what can be reached through it, and that nothing is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from nbdtun.config import TunnelSettings
from nbdtun.errors import ConfigError, TargetUnknown
from nbdtun.tunnel.settings import CONTROL, SINK
from tests.service.stage import Way


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
        assert targets.find(name) is not None
    with pytest.raises(TargetUnknown):
        targets.find("ram")


def test_certificates_are_read_when_it_is_made(base: Path) -> None:
    way = Way(base)
    way.settings = TunnelSettings(tls_dir=f"{base}/none")
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        way.destination()
