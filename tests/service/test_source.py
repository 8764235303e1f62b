"""The source's service: what it listens on while it runs, and that nothing is left of it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.task import deferLater

from nbdtun.config import VM, Forward, LocalLimits, TunnelSettings
from nbdtun.errors import ConfigError, MigrationError, ShuttingDown
from tests.service.stage import Way
from tests.tunnel.stage.stage import all_here


@pytest_twisted.ensureDeferred
async def test_its_sockets_are_there_while_it_runs(base: Path) -> None:
    way = Way(base)
    service = way.source()
    assert way.left() == []
    service.startService()
    assert stat.S_IMODE(way.entrance.stat().st_mode) == 0o600
    await service.stopService()
    assert way.left() == []


@pytest_twisted.ensureDeferred
async def test_a_destination_that_is_not_there_closes_what_comes_in(base: Path, said: list[str]) -> None:
    way = Way(base)
    way.settings = TunnelSettings(run_dir=str(base), handshake_timeout=0.2)
    service = way.source()
    service.startService()
    program = await way.enter()
    await program.gone
    assert any("tunnel.sock" in line for line in said)
    await service.stopService()


def test_a_socket_that_cannot_be_made_is_one_line(base: Path) -> None:
    way = Way(base)
    way.entrance.write_text("somebody's file")
    service = way.source()
    with pytest.raises(ConfigError, match=r"in\.sock"):
        service.startService()
    assert way.entrance.read_text() == "somebody's file"


class TestTake:
    """A running source goes on with other settings."""

    @pytest_twisted.ensureDeferred
    async def test_forwards_come_and_go_and_channels_stay(self, base: Path) -> None:
        way = Way(base)
        source, destination, port = way.source(), way.destination(), await way.serve()
        destination.startService()
        source.startService()
        program = await way.enter()
        assert await program.ask(b"ping") == b"ping"
        other = Forward("nbd", f"unix:{base.parent}/other.sock")
        await source.take(evolve(source.settings, forwards=(other,), urgent=("nbd",), limits=LocalLimits(7, 7)))
        assert way.left() == ["control"] * (base / "control").exists() + ["other.sock", "out.sock", "tunnel.sock"]
        assert await program.ask(b"still") == b"still"
        way.entrance = base.parent / "other.sock"
        assert await (await way.enter()).ask(b"there") == b"there"
        assert sorted(channel.urgent for channel in all_here(source.tunnel.channels)) == [False, True]
        assert source.tunnel.users.limits.channels == 7
        await source.stopService()
        await destination.stopService()
        await port.stopListening()  # type: ignore[misc]

    @pytest_twisted.ensureDeferred
    async def test_another_target_of_the_same_socket(self, base: Path) -> None:
        way = Way(base)
        source = way.source()
        source.startService()
        here = way.entrance.stat().st_ino
        bandwidth = evolve(source.settings.tunnel, bandwidth=1000)
        await source.take(evolve(source.settings, tunnel=bandwidth, forwards=(Forward("ram", f"unix:{way.entrance}"),)))
        assert (await source.survey())["forwards"][0]["target"] == "ram"
        assert (way.entrance.stat().st_ino, source.tunnel.runtime.throttle.rate) == (here, 1000)
        await source.stopService()

    @pytest_twisted.ensureDeferred
    async def test_forwards_are_another_processs_once_it_was_replaced(self, base: Path) -> None:
        way = Way(base)
        source = way.source()
        source.startService()
        source.senders.replaced_by = 4822
        other = (Forward("ram", f"unix:{base.parent}/other.sock"),)
        await source.take(evolve(source.settings, forwards=other, limits=LocalLimits(7, 7)))
        assert (source.settings.forwards[0].target, source.tunnel.users.limits.channels) == ("nbd", 7)
        assert way.left() == ["in.sock"]
        await source.stopService()

    @pytest_twisted.ensureDeferred
    async def test_a_socket_that_cannot_be_made_changes_nothing(self, base: Path) -> None:
        way = Way(base)
        source = way.source()
        source.startService()
        more = [Forward("a", f"unix:{base.parent}/a.sock"), Forward("b", "unix:/nonexistent/b.sock")]
        with pytest.raises(ConfigError, match=r"/nonexistent/b\.sock: No such file"):
            await source.take(evolve(source.settings, forwards=(*source.settings.forwards, *more), limits=LocalLimits(7, 7)))
        assert way.left() == ["in.sock"]
        assert (source.tunnel.users.limits.channels, len(source.settings.forwards)) == (1024, 1)
        await source.take(evolve(source.settings, forwards=(*source.settings.forwards, more[0])))
        assert way.left() == ["a.sock", "in.sock"]
        await source.drain()
        with pytest.raises(ShuttingDown):
            await source.take(source.settings)
        await source.stopService()

    def test_it_receives_no_vms(self, base: Path) -> None:
        with pytest.raises(MigrationError, match="VMs are for a destination's daemon"):
            Way(base).source().serve([VM("a", "/q")])


def test_certificates_are_read_when_it_is_made(base: Path) -> None:
    way = Way(base)
    way.settings = TunnelSettings(tls_dir=f"{base}/none", tls_name="dest")
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        way.source()


@pytest.mark.parametrize("urgent", [(), ("nbd",)])
@pytest_twisted.ensureDeferred
async def test_what_is_urgent_is_so_on_its_way(base: Path, urgent: tuple[str, ...]) -> None:
    way = Way(base)
    source, destination, port = way.source(urgent=urgent), way.destination(), await way.serve()
    destination.startService()
    source.startService()
    program = await way.enter()
    assert await program.ask(b"ping") == b"ping"
    (channel,) = all_here(source.tunnel.channels)
    assert channel.urgent is bool(urgent)
    await source.stopService()
    await destination.stopService()
    await port.stopListening()  # type: ignore[misc]


@pytest_twisted.ensureDeferred
async def test_one_that_is_drained_waits_for_its_channels_and_takes_no_more(base: Path, said: list[str]) -> None:
    way = Way(base)
    source, destination, port = way.source(), way.destination(), await way.serve()
    destination.startService()
    source.startService()
    program = await way.enter()
    assert await program.ask(b"ping") == b"ping"
    (channel,) = all_here(source.tunnel.channels)
    draining = source.drain()
    while way.entrance.exists():
        await deferLater(reactor, 0.01)
    assert await program.ask(b"still") == b"still"
    assert not draining.called
    assert any(line.endswith(f"for channel {channel.name}; a second signal ends it now") for line in said)
    program.transport.loseConnection()  # type: ignore[union-attr]
    await draining
    await source.stopService()
    await destination.stopService()
    await port.stopListening()  # type: ignore[misc]
    assert way.left() == []


@pytest_twisted.ensureDeferred
async def test_channels_that_do_not_end_are_named_and_ended_by_the_stop(base: Path, said: list[str]) -> None:
    way = Way(base)
    source, destination, port = way.source(drain_timeout=0.05), way.destination(), await way.serve()
    destination.startService()
    source.startService()
    program = await way.enter()
    assert await program.ask(b"ping") == b"ping"
    (channel,) = all_here(source.tunnel.channels)
    await source.drain()
    assert f"--drain-timeout (50 ms) has passed: ending channel {channel.name}" in said
    await source.stopService()
    await program.gone
    await destination.stopService()
    await port.stopListening()  # type: ignore[misc]


@pytest_twisted.ensureDeferred
async def test_it_says_once_whether_the_destination_can_be_reached(base: Path, said: list[str]) -> None:
    way = Way(base)
    way.settings = TunnelSettings(run_dir=str(base), handshake_timeout=0.2)
    alone = way.source()
    alone.startService()
    await deferLater(reactor, 0.5)
    assert sum("the destination cannot be reached: " in line for line in said) == 1
    await alone.stopService()
    there, service = way.destination(), way.source()
    there.startService()
    service.startService()
    await deferLater(reactor, 0.3)
    assert any(line.endswith(" answers") for line in said)
    assert not any("refused" in line for line in said if "cannot be reached" not in line)
    await service.stopService()
    await there.stopService()
