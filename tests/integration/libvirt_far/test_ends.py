"""How an arrival ends: its domain stays, is removed, or waits for another word."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest
import pytest_twisted

from nbdtun.errors import DestinationFailed, NotAllowed, NotMigratable
from nbdtun.libvirt.far.arrival import Arrival
from nbdtun.migration.bond import Claim
from nbdtun.migration.rollback.presence import identity
from tests.integration.libvirt_far.stage import (
    UUID,
    Scene,
    begin,
    file_of,
    fill,
    image_of,
    is_dead,
    kill,
    lives,
    texts,
    wanted_of,
)


@pytest_twisted.ensureDeferred
async def test_what_has_arrived_stays_and_its_session_can_ask_again(scene: Scene) -> None:
    arrivals = scene.arrivals()
    wanted = wanted_of(image_of(scene.pool / "a.raw"))
    arrival, _ = await begin(arrivals, wanted)
    arrival.handing_over()
    scene.host.virsh("create", file_of(scene, wanted.xml))
    fate = await arrival.finish(True)
    assert (fate.state, fate.has_run, fate.kept) == ("running", True, (f"{scene.pool}/a.raw",))
    assert os.listdir(scene.directory / "run") == []
    with pytest.raises(NotMigratable, match="web1 is running at the destination already"):
        await begin(arrivals, wanted)
    scene.host.virsh("destroy", "web1")
    later = scene.arrivals()  # of the next process
    claim = Claim(frozenset({"here"}))
    assert (await later.outcome(UUID, arrival.session, claim, end=True)).has_run
    assert not (await later.outcome(UUID, None, claim, end=True)).has_run
    assert (scene.pool / "a.raw").exists()


@pytest_twisted.ensureDeferred
async def test_what_was_not_handed_over_has_not_arrived_whatever_its_source_says(scene: Scene) -> None:
    arrivals = scene.arrivals()
    arrival, _ = await begin(arrivals, wanted_of(image_of(scene.pool / "a.raw")))
    fate = await arrival.finish(True)
    assert (fate.state, fate.has_run, fate.kept) == ("", False, ())
    assert not (scene.pool / "a.raw").exists()


@pytest_twisted.ensureDeferred
async def test_one_arrival_at_a_time_unless_its_source_is_dead(scene: Scene) -> None:
    arrivals, wanted = scene.arrivals(), wanted_of(image_of(scene.pool / "a.raw"))
    first, _ = await begin(arrivals, wanted, is_dead)
    (line,) = await texts(arrivals, wanted)
    assert line == "warning: web1: an earlier migration to the destination was broken, and has left what it made there"
    second, _ = await begin(arrivals, wanted, lives)
    assert await texts(arrivals, wanted) == ["failure: web1 is already being migrated to this destination by another session"]
    assert (first.over, second.over) == (True, False)
    with pytest.raises(NotMigratable, match="already being migrated to this destination by another session"):
        await begin(arrivals, wanted)
    await arrivals.stop("the destination's daemon was stopped")
    assert second.over
    assert scene.volumes() == []


@pytest_twisted.ensureDeferred
async def test_what_a_killed_far_end_has_made_is_removed_by_the_next(scene: Scene) -> None:
    wanted = wanted_of(image_of(scene.pool / "a.raw"), image_of(scene.directory / "new/b.qcow2", "vdb"))
    _, left = await begin(scene.arrivals(), wanted)
    kill(scene)
    fill(scene.pool / "a.raw")  # a part of the guest's disk is there
    later = scene.arrivals()
    (line,) = await texts(later, wanted)
    assert line == "warning: web1: an earlier migration to the destination was broken, and has left what it made there"
    arrival, _ = await begin(later, wanted)
    assert not os.path.exists(left.directory)
    assert subprocess.run(["qemu-io", "-f", "raw", "-c", "read -P 0 0 64k", scene.pool / "a.raw"], check=True).returncode == 0
    await arrival.finish(False)
    assert scene.volumes() == []
    assert not (scene.directory / "new").exists()


@pytest_twisted.ensureDeferred
async def test_or_when_the_next_starts(scene: Scene, said: list[str]) -> None:
    wanted = wanted_of(image_of(scene.pool / "a.raw"))
    _, left = await begin(scene.arrivals(), wanted)
    kill(scene, identity(os.getppid()))
    await scene.arrivals().sweep()
    assert scene.volumes() == ["a.raw"]  # that process lives
    assert any("another nbdtun works on it" in line for line in said)
    kill(scene)
    await scene.arrivals().sweep()
    assert scene.volumes() == []
    assert not os.path.exists(left.directory)
    assert "web1: removed what an earlier migration had made" in said


@pytest_twisted.ensureDeferred
async def test_what_was_handed_over_is_never_removed(scene: Scene) -> None:
    wanted = wanted_of(image_of(scene.pool / "a.raw"))
    arrival, _ = await begin(scene.arrivals(), wanted)
    arrival.handing_over()
    kill(scene)
    fill(scene.pool / "a.raw")
    later, claim = scene.arrivals(), Claim(frozenset({"here"}))
    (line, _) = await texts(later, wanted)
    assert line.endswith("has left what it made there, which stays, as its guest was handed over, and may have run there")
    assert (await later.outcome(UUID, None, claim, end=False)).has_run
    assert (await later.outcome(UUID, arrival.session, claim, end=True)).has_run
    assert scene.volumes() == ["a.raw"]


@pytest_twisted.ensureDeferred
async def test_a_session_is_its_sources_own(scene: Scene) -> None:
    def none(name: str) -> None:
        raise NotAllowed(f"no right to {name}")

    arrivals = scene.arrivals()
    arrival, _ = await begin(arrivals, wanted_of(image_of(scene.pool / "a.raw")))
    stranger = Claim(frozenset({"stranger"}))
    with pytest.raises(DestinationFailed, match="does not know this session"):
        arrivals.session(arrival.session, stranger)
    with pytest.raises(NotAllowed, match="is being migrated there by another source"):
        await arrivals.outcome(UUID, arrival.session, stranger, end=True)
    with pytest.raises(NotAllowed, match="no right to web1"):
        await arrivals.outcome(UUID, arrival.session, Claim(frozenset({"here"})), end=True, may=none)
    assert scene.volumes() == ["a.raw"]
    await arrivals.outcome(UUID, arrival.session, Claim(frozenset({"here"})), end=True)
    assert scene.volumes() == []


@pytest_twisted.ensureDeferred
async def test_a_domain_that_waits_is_ended_and_leaves_nothing(scene: Scene, incoming: Callable[[Arrival], None]) -> None:
    wanted = wanted_of(image_of(scene.pool / "a.raw"))
    first, _ = await begin(scene.arrivals(), wanted)
    incoming(first)
    kill(scene)
    later = scene.arrivals()
    levels = [finding.level.value for finding in (await later.look(wanted)).findings]
    assert levels == ["warning"]
    stranger = Claim(frozenset({"stranger"}))
    with pytest.raises(NotAllowed, match="waits there for a guest that another source has sent"):
        await later.outcome(UUID, None, stranger, end=True)
    waits = await later.outcome(UUID, None, Claim(frozenset({"here"})), end=False)
    assert (waits.state, waits.reason, waits.waits, waits.has_run) == ("paused", "migration", True, False)
    fate = await later.outcome(UUID, None, Claim(frozenset({"here"})), end=True)
    assert (fate.state, fate.has_run) == ("", False)
    assert scene.volumes() == []
