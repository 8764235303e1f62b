"""The images that the far end makes, uses, refuses and removes."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from attrs import evolve

from lab.disks import MIB
from lab.libvirt import Host
from nbdtun.errors import NotMigratable
from nbdtun.libvirt.far.admission import Rules
from nbdtun.libvirt.far.record import record
from nbdtun.libvirt.values import Prepared
from nbdtun.migration.bond import Claim
from nbdtun.spawn.values import Twin
from tests.integration.libvirt_far.stage import (
    NOBODY,
    UUID,
    Scene,
    begin,
    domain,
    file_of,
    fill,
    image_of,
    make,
    texts,
    wanted_of,
)


@pytest_twisted.ensureDeferred
async def test_images_are_volumes_of_the_pool_and_are_removed_after_a_failure(scene: Scene) -> None:
    qcow2 = image_of(scene.pool / "a.qcow2", compat="1.1", cluster=128 * 1024, extended_l2=True)
    wanted = wanted_of(qcow2, image_of(scene.pool / "b.raw", "vdb", mode=0o600, owner="root"))
    arrivals = scene.arrivals()
    assert await texts(arrivals, wanted) == []
    arrival, prepared = await begin(arrivals, wanted)
    assert scene.volumes() == ["a.qcow2", "b.raw"]
    made = os.stat(qcow2.path)
    assert (stat.S_IMODE(made.st_mode), made.st_uid) == (0o640, pwd.getpwnam(NOBODY).pw_uid)
    told = subprocess.run(["qemu-img", "info", qcow2.path], check=True, capture_output=True, text=True).stdout
    assert all(each in told for each in ("file format: qcow2", "8 MiB", "cluster_size: 131072", "compat: 1.1", "extended l2: true"))
    assert os.stat(scene.pool / "b.raw").st_size == 8 * MIB
    assert prepared == Prepared(f"{scene.directory}/run/{arrival.session}", "libvirt.1", "memory.1", "disks.1", "system")
    assert stat.S_IMODE(os.stat(prepared.directory).st_mode) == 0o700
    fate = await arrivals.session(arrival.session, Claim(frozenset({"here"}))).finish(False)
    assert (fate.state, fate.has_run, fate.begun, fate.kept) == ("", False, False, ())
    assert scene.volumes() == []
    assert not os.path.exists(prepared.directory)
    assert record(scene.directory / "state", UUID).read() is None
    assert scene.doors[-1].events == ["open", "close"]


@pytest_twisted.ensureDeferred
async def test_an_encrypted_image_is_made_with_its_secret(scene: Scene) -> None:
    uuid, path = "22222222-2222-2222-2222-222222222222", scene.pool / "a.raw"
    inside = f"<encryption format='luks'><secret type='passphrase' uuid='{uuid}'/></encryption>"
    wanted = evolve(wanted_of(image_of(path)), xml=domain(path).replace("<target dev='vda'", f"{inside}<target dev='vda'"))
    arrivals = scene.arrivals()
    assert await texts(arrivals, wanted) == [f"failure: disk vda: libvirt there has no secret {uuid}"]
    scene.host.virsh("secret-define", file_of(scene, f"<secret ephemeral='yes' private='yes'><uuid>{uuid}</uuid></secret>"))
    scene.host.virsh("secret-set-value", uuid, "c2VjcmV0")
    arrival, _ = await begin(arrivals, wanted)
    told = subprocess.run(["qemu-img", "info", path], check=True, capture_output=True, text=True).stdout
    assert "file format: luks" in told
    assert "8 MiB (8388608 bytes)" in told
    (line,) = await texts(
        scene.arrivals(), evolve(wanted, uuid=UUID.replace("1", "2"), xml=wanted.xml.replace(UUID, UUID.replace("1", "2")))
    )
    assert line.endswith("is there already, and not empty")  # nobody can see that
    await arrival.finish(False)
    scene.host.virsh("secret-undefine", uuid)
    assert scene.volumes() == []


@pytest_twisted.ensureDeferred
async def test_a_directory_without_a_pool_gets_one_for_a_moment(scene: Scene) -> None:
    folder = scene.directory / "new/deep"
    arrivals = scene.arrivals()
    arrival, _ = await begin(arrivals, wanted_of(image_of(folder / "a.qcow2"), image_of(folder / "b.raw", "vdb")))
    assert sorted(os.listdir(folder)) == ["a.qcow2", "b.raw"]
    assert scene.pools() == ["images"]
    await arrival.finish(False)
    assert not folder.parent.exists()
    assert scene.pools() == ["images"]


@pytest_twisted.ensureDeferred
async def test_a_full_pool(scene: Scene, host: tuple[Host, Path]) -> None:
    full = host[1] / "full"
    rules = Rules(anywhere=True)
    large = wanted_of(image_of(full / "a.qcow2", allocation=4 * MIB))
    (line,) = await texts(scene.arrivals(rules), large)
    assert line == f"failure: {full}: the disks need 4 MiB, and 1 MiB are free"
    with pytest.raises(NotMigratable, match="the disks need 4 MiB"):
        await begin(scene.arrivals(rules), large)
    both = wanted_of(image_of(full / "a.raw"), image_of(full / "b.qcow2", "vdb", cluster=2 * MIB))  # its tables alone take more
    with pytest.raises(NotMigratable, match=r"disk vdb: .*/b.qcow2 cannot be made: .*No space left on device"):
        await begin(scene.arrivals(rules), both)
    assert os.listdir(full) == []
    assert record(scene.directory / "state", UUID).read() is None


@pytest_twisted.ensureDeferred
async def test_an_image_that_is_there(scene: Scene) -> None:
    arrivals, path = scene.arrivals(), scene.pool / "a.qcow2"
    wanted = wanted_of(image_of(path))
    make(path, 4 * MIB)
    sizes = "4194304 bytes (4 MiB) there, and 8388608 (8 MiB) at the source"
    assert await texts(arrivals, evolve(wanted, overwrite=True)) == [f"failure: disk vda: {path} has {sizes}"]
    make(path)
    assert await texts(arrivals, wanted) == []
    fill(path)
    assert await texts(arrivals, wanted) == [f"failure: disk vda: {path} is there already, and not empty"]
    assert await texts(arrivals, evolve(wanted, overwrite=True)) == []
    raw = evolve(wanted, images=(image_of(path, format="raw"),))
    assert f"{path} has {path.stat().st_size} bytes" in (await texts(arrivals, raw))[0]
    make(path.with_suffix(".raw")).rename(path)
    assert await texts(arrivals, wanted) == [f"failure: disk vda: {path} is raw there, and qcow2 at the source"]


@pytest_twisted.ensureDeferred
async def test_an_image_that_was_there_is_used_and_stays(scene: Scene) -> None:
    path = make(scene.pool / "a.raw")
    arrival, _ = await begin(scene.arrivals(), wanted_of(image_of(path)))
    inode = path.stat().st_ino
    await arrival.finish(False)
    assert path.stat().st_ino == inode


@pytest_twisted.ensureDeferred
async def test_an_image_of_another_domain_or_of_the_source(scene: Scene) -> None:
    arrivals, path = scene.arrivals(), make(scene.pool / "a.raw")
    nonce = scene.pool / ".nbdtun-1"
    nonce.touch()
    seen = image_of(path, twin=Twin(nonce.name, path.name, path.stat().st_ino))
    same = f"failure: disk vda: {path} is the source's own image: both hosts see the same one"
    assert await texts(arrivals, wanted_of(seen, overwrite=True)) == [same]
    other = "99999999-2222-3333-4444-555555555555"
    scene.host.virsh("define", file_of(scene, domain(path, name="db1", uuid=other)))
    assert await texts(arrivals, wanted_of(image_of(path), overwrite=True)) == [
        f"failure: disk vda: {path} belongs to the domain {other} there"
    ]
    scene.host.virsh("undefine", "db1")


@pytest.fixture
def device(scene: Scene) -> Iterator[str]:
    """A block device of 64 MiB, with a table of partitions and a storage pool on it."""
    file = scene.directory / "device"
    with file.open("wb") as made:
        made.truncate(64 * MIB)
    loop = subprocess.run(["losetup", "--find", "--show", "--partscan", file], check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(["parted", "--script", loop, "mklabel", "gpt"], check=True, capture_output=True)
    scene.host.virsh("pool-create-as", "gold", "disk", "--source-dev", loop, "--source-format", "gpt", "--target", "/dev")
    yield loop
    scene.host.virsh("pool-destroy", "gold")
    subprocess.run(["losetup", "--detach", loop], check=True)


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_a_partition_is_a_volume_too(scene: Scene, device: str) -> None:
    """Of a device whose name ends with a digit, too, as that of an NVMe disk does: libvirt 9.0 itself cannot remove such a one."""
    first = evolve(image_of(Path(f"{device}p1.raw"), device=True), path=f"{device}p1")
    wanted = evolve(wanted_of(first), xml=domain(Path(f"{device}p1.raw")).replace("p1.raw", "p1"))
    large = evolve(wanted, images=(evolve(first, capacity=80 * MIB),))
    assert await texts(scene.arrivals(Rules(anywhere=True)), large) == [
        "failure: the storage pool gold: the disks need 80 MiB, and 64 MiB are free"
    ]
    arrival, _ = await begin(scene.arrivals(Rules(anywhere=True)), wanted)
    size = subprocess.run(["blockdev", "--getsize64", f"{device}p1"], check=True, capture_output=True, text=True).stdout
    assert int(size) == 8 * MIB
    await arrival.finish(False)
    assert not os.path.exists(f"{device}p1")
    assert record(scene.directory / "state", UUID).read() is None
    assert scene.host.virsh("vol-list", "gold").splitlines()[2:] == []
    assert (await texts(scene.arrivals(Rules(anywhere=True)), wanted)) == []
