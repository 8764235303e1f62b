"""The destination's service: what can be reached through it, and that nothing is left of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import CancelledError

from nbdtun.config import VM, Limits, Target, TunnelSettings, VMPattern
from nbdtun.errors import ConfigError, NotAllowed, ShuttingDown, TargetUnknown, VMUnknown
from nbdtun.service.destination import DestinationService
from nbdtun.tls.issue import make
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


class TestTake:
    """A running destination goes on with other settings."""

    def test_targets_and_vms_come_and_go(self, base: Path) -> None:
        destination = Way(base).destination()
        targets, before = destination.tunnel.targets, destination.settings
        vms = (VM("web2", f"{base}/web2.qmp"), VMPattern("db*", f"{base}/{{vm}}.qmp"))
        destination.take(evolve(before, targets=(Target("ram", "unix:/r"),), vms=vms))
        assert targets.find("ram", NOBODY) is not None
        with pytest.raises(TargetUnknown):
            targets.find("nbd", NOBODY)
        destination.sessions.check_open("web2")
        with pytest.raises(VMUnknown, match="it has"):
            destination.sessions.check_open("web1", lambda vm: True)
        destination.take(before)
        destination.sessions.check_open("web1")

    def test_a_target_that_cannot_be_made_changes_nothing(self, base: Path) -> None:
        """A plugin's endpoints are checked by the plugin alone."""
        destination = Way(base).destination()
        before, there = destination.settings, destination.tunnel.targets.find("nbd", NOBODY)
        with pytest.raises(ConfigError, match=r"^tls:host:abc: no such endpoint can be made \(ValueError: "):
            destination.take(evolve(before, targets=(Target("ram", "unix:/r"), Target("odd", "tls:host:abc")), vms=()))
        assert destination.tunnel.targets.find("nbd", NOBODY) is there
        assert "ram" not in destination.tunnel.targets
        assert (destination.settings, destination.serve([])) == (before, ["web1"])

    def test_one_that_had_no_vms_gets_some(self, base: Path) -> None:
        destination = Way(base).destination()
        destination.take(evolve(destination.settings, vms=()))
        assert destination.serve([]) == []
        bare = DestinationService(reactor, evolve(destination.settings, listen=f"unix:{base}/2"))
        with pytest.raises(TargetUnknown):
            bare.tunnel.targets.find(CONTROL, NOBODY)
        assert bare.serve([VM("web1", "/q")]) == ["web1"]
        bare.tunnel.targets.find(CONTROL, NOBODY)

    def test_what_an_operator_has_changed_stays(self, base: Path) -> None:
        """Only what differs in the settings counts."""
        destination = Way(base).destination()
        destination.serve([VM("db1", "/q")], ["web1"])
        destination.tunnel.runtime.throttle.rate = 7
        destination.take(destination.settings)
        assert (destination.serve([]), destination.tunnel.runtime.throttle.rate) == (["db1"], 7)
        destination.take(evolve(destination.settings, tunnel=evolve(destination.settings.tunnel, bandwidth=1000)))
        assert destination.tunnel.runtime.throttle.rate == 1000
        with pytest.raises(ConfigError, match="no VM web9 is served"):
            destination.serve([], ["web9"])

    def test_other_certificates_and_names(self, base: Path, said: list[str]) -> None:
        way = Way(base)
        for name in ("one", "two"):
            make(base / name, ["localhost"])
        way.settings = TunnelSettings(tls_dir=f"{base}/one")
        destination = way.destination()
        context = destination.tunnel._tls.context()  # type: ignore[union-attr]
        destination.take(destination.settings)
        assert destination.tunnel._tls.context() is context  # type: ignore[union-attr]
        other = evolve(way.settings, tls_dir=f"{base}/two", any_purpose=True)
        destination.take(evolve(destination.settings, tunnel=other, allow=("src*",), limits=Limits(1, 1, 1, 1)))
        assert destination.tunnel._tls.context() is not context  # type: ignore[union-attr]
        assert destination.tunnel.allow.rules
        before = destination.settings
        with pytest.raises(ConfigError, match="/none: No such file"):
            destination.take(evolve(before, tunnel=evolve(other, tls_dir=f"{base}/none"), allow=()))
        assert (destination.settings, bool(destination.tunnel.allow.rules)) == (before, True)

    def test_a_right_is_taken_from_a_source_that_has_a_control_channel(self, base: Path) -> None:
        """What it has begun goes on; it begins nothing more."""
        way = Way(base)
        make(base / "tls", ["localhost"])
        way.settings = TunnelSettings(tls_dir=f"{base}/tls")
        destination = way.destination()
        party = destination._answering(Caller("it", "there", "dns:a", "dns:a", frozenset({"dns:a"})))._party
        party.check_anew("web1")
        destination.take(evolve(destination.settings, allow=("nbd=a", "b")))
        party.check("web1")
        with pytest.raises(NotAllowed):
            party.check_anew("web1")

    @pytest_twisted.ensureDeferred
    async def test_one_that_is_shutting_down_takes_nothing(self, base: Path) -> None:
        destination = Way(base).destination()
        destination.startService()
        await destination.drain()
        for change in (lambda: destination.take(destination.settings), lambda: destination.serve([VM("a", "/q")])):
            with pytest.raises(ShuttingDown):
                change()
        await destination.stopService()


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
