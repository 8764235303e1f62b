"""The far end with a real libvirtd: what it finds, the images that it makes, and what it leaves."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor as the_reactor

from lab import libvirt as lab
from lab.disks import MIB
from lab.libvirt import Host
from lab.process import wait
from nbdtun.errors import DestinationFailed, NbdtunError, NotAllowed, NotMigratable
from nbdtun.libvirt.connection import asking
from nbdtun.libvirt.far import arrivals as far
from nbdtun.libvirt.far.admission import Rules
from nbdtun.libvirt.far.arrival import Arrival
from nbdtun.libvirt.far.arrivals import Arrivals
from nbdtun.libvirt.far.record import record
from nbdtun.libvirt.values import Image, Prepared, Wanted
from nbdtun.migration.bond import Bond, Claim
from nbdtun.migration.ids import new_session
from nbdtun.migration.rollback.presence import identity
from nbdtun.process import Reactor
from nbdtun.spawn.values import Twin

reactor = cast("Reactor", the_reactor)
EMULATOR = shutil.which("qemu-system-x86_64")
UUID = "11111111-2222-3333-4444-555555555555"
BOND = Bond("here", "")
NOBODY = "nobody"


class Doors:
    """The tunnel's part of an arrival, without a tunnel."""

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self.events: list[str] = []

    def open(self) -> tuple[str, str, str]:
        self.events.append("open")
        return "libvirt.1", "memory.1", "disks.1"

    def close(self) -> None:
        self.events.append("close")


class Scene:
    """A host with its libvirtd, and a directory that the tests see under the same name."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.directory = directory
        self.pool = directory / "pool"
        self.doors: list[Doors] = []
        self.pool.mkdir()
        host.virsh("pool-create-as", "images", "dir", "--target", f"{self.pool}")

    def arrivals(self, rules: Rules | None = None) -> Arrivals:
        def make(arrival: Arrival) -> Doors:
            self.doors.append(Doors(arrival))
            return self.doors[-1]

        return Arrivals(reactor, self.host.uri, self.directory / "state", make, rules or Rules(roots=(f"{self.directory}",)))

    def pools(self) -> list[str]:
        return self.host.virsh("pool-list", "--all", "--name").split()

    def volumes(self) -> list[str]:
        self.host.virsh("pool-refresh", "images")
        return [line.split()[0] for line in self.host.virsh("vol-list", "images").splitlines() if line.strip()]


async def lives() -> bool:
    return True


async def is_dead() -> bool:
    return False


def domain(*disks: Path, name: str = "web1", uuid: str = UUID, more: str = "", cpu: str = "qemu64", machine: str = "pc-q35-7.2") -> str:
    images = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='{disk.suffix[1:]}'/><source file='{disk}'/>"
        f"<target dev='vd{letter}' bus='virtio'/></disk>"
        for letter, disk in zip("abc", disks, strict=False)
    )
    return f"""
        <domain type='qemu'>
          <name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>
          <os><type arch='x86_64' machine='{machine}'>hvm</type></os>
          <cpu mode='custom' match='exact'><model>{cpu}</model></cpu>
          <devices><emulator>{EMULATOR}</emulator>{images}
            <controller type='usb' model='none'/><memballoon model='none'/>{more}
          </devices>
        </domain>"""


def image_of(path: Path, target: str = "vda", **changes: Any) -> Image:
    return evolve(Image(target, f"{path}", path.suffix[1:], 8 * MIB, owner=NOBODY, mode=0o640), **changes)


def wanted_of(*images: Image, **changes: Any) -> Wanted:
    xml = domain(*(Path(image.path) for image in images))
    return evolve(Wanted("web1", UUID, xml, images), **changes)


def make(path: Path, size: int = 8 * MIB) -> Path:
    subprocess.run(["qemu-img", "create", "-q", "-f", path.suffix[1:], path, f"{size}"], check=True)
    return path


def fill(path: Path) -> Path:
    subprocess.run(["qemu-io", "-f", path.suffix[1:], "-c", "write -P 7 0 64k", path], check=True, capture_output=True)
    return path


async def texts(arrivals: Arrivals, wanted: Wanted) -> list[str]:
    return [f"{finding.level.value}: {finding.what}" for finding in (await arrivals.look(wanted)).findings]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Path]]:
    if reason := lab.unable():
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("far")
    for above in (directory, *directory.parents[:2]):
        above.chmod(0o755)
    full = directory / "full"
    full.mkdir()
    with ExitStack() as stack:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "nbdtun", full], check=True)
        stack.callback(lambda: subprocess.run(["umount", full], check=True))
        yield stack.enter_context(Host(directory, "there")), directory


@pytest.fixture
def scene(host: tuple[Host, Path], directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    directory.chmod(0o755)
    monkeypatch.setattr(far, "BASE", f"{directory}/run")
    found = Scene(host[0], directory)
    yield found
    host[0].virsh("pool-destroy", "images")
    for name in host[0].virsh("list", "--name").split():
        host[0].virsh("destroy", name)
    assert found.pools() == []


async def begin(arrivals: Arrivals, wanted: Wanted, alive: Callable[[], Awaitable[bool]] = lives) -> tuple[Arrival, Prepared]:
    return await arrivals.begin(new_session(), BOND, wanted, alive)


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
    scene.host.virsh("secret-define", _file(scene, f"<secret ephemeral='yes' private='yes'><uuid>{uuid}</uuid></secret>"))
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
async def test_what_has_arrived_stays_and_its_session_can_ask_again(scene: Scene) -> None:
    arrivals = scene.arrivals()
    wanted = wanted_of(image_of(scene.pool / "a.raw"))
    arrival, _ = await begin(arrivals, wanted)
    arrival.handing_over()
    scene.host.virsh("create", _file(scene, wanted.xml))
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


def _file(scene: Scene, xml: str) -> str:
    file = scene.directory / "domain.xml"
    file.write_text(xml)
    return f"{file}"


@pytest_twisted.ensureDeferred
async def test_all_that_is_missing_is_said_at_once(scene: Scene) -> None:
    more = f"""
        <interface type='network'><source network='blue'/></interface>
        <interface type='bridge'><source bridge='br-nowhere'/></interface>
        <disk type='file' device='cdrom'><source file='{scene.directory}/nowhere.iso'/><target dev='sda' bus='sata'/><readonly/></disk>
        <disk type='volume'><source pool='gold' volume='v'/><target dev='vdb'/>
          <encryption format='luks'><secret type='passphrase' uuid='22222222-2222-2222-2222-222222222222'/></encryption></disk>"""
    xml = domain(scene.pool / "a.raw", more=more, cpu="Skylake-Server")
    images = (image_of(scene.pool / "a.raw"), image_of(Path("x.raw"), "vdb", pool="gold", volume="v"))
    found = (await scene.arrivals().look(Wanted("web1", UUID, xml, images))).findings
    said = [f"{finding}" for finding in found]
    assert [line.split(";")[0] for line in said if "CPU" not in line] == [
        "there is no network blue",
        "there is no bridge br-nowhere",
        "disk vdb: libvirt there has no secret 22222222-2222-2222-2222-222222222222",
        f"disk sda: {scene.directory}/nowhere.iso is not there",
        "disk vdb: there is no storage pool gold",
    ]
    (cpu,) = [line for line in said if "CPU" in line]
    assert "the CPU is incompatible with host CPU: Host CPU does not provide required features: " in cpu
    assert all(finding.remedy for finding in found)


@pytest.mark.parametrize(
    ("xml", "says"),
    [
        (domain(machine="pc-q35-99.0"), "the machine 'pc-q35-99.0' is not supported by emulator"),
        (domain().replace(f"{EMULATOR}", "/usr/bin/qemu-nowhere"), "Cannot check QEMU binary /usr/bin/qemu-nowhere: No such file"),
        (domain().replace("arch='x86_64'", "arch='s390x'"), "libvirt there has no QEMU for s390x"),
        (domain(cpu="Nonsense"), "Unknown CPU model Nonsense"),
        (domain(name="web2"), "the XML is that of web2"),
        (domain(more="<hostdev mode='subsystem' type='usb'/>"), "a device of its host"),
        (domain(more="<tpm model='tpm-tis'><backend type='nonsense'/></tpm>"), "libvirt there has no TPM of the kind nonsense"),
        (
            domain().replace(
                "</os>", "<loader type='pflash'>/usr/share/no.fd</loader><nvram template='/usr/share/t.fd'>/data/n</nvram></os>"
            ),
            "the firmware: /usr/share/no.fd is not there|the NVRAM's template: /usr/share/t.fd is not there|/data/n is in no storage pool",
        ),
        ("<domain", "malformed"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_domain_that_cannot_be_here(scene: Scene, xml: str, says: str) -> None:
    found = await texts(scene.arrivals(), Wanted("web1", UUID, xml))
    for words in says.split("|"):
        assert any(words in line for line in found), found
    with pytest.raises(NbdtunError):
        await begin(scene.arrivals(), Wanted("web1", UUID, xml))
    assert not (scene.directory / "state").exists()


@pytest_twisted.ensureDeferred
async def test_a_place_that_is_not_admitted(scene: Scene) -> None:
    wanted = wanted_of(image_of(Path("/etc/cron.d/evil.raw")))
    with pytest.raises(NotAllowed, match=r"/etc/cron.d/evil.raw is in no storage pool there"):
        await begin(scene.arrivals(), wanted)
    assert await texts(scene.arrivals(Rules(anywhere=True)), wanted) == []
    assert await texts(scene.arrivals(Rules()), wanted_of(image_of(scene.pool / "a.raw"))) == []


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
    scene.host.virsh("define", _file(scene, domain(path, name="db1", uuid=other)))
    assert await texts(arrivals, wanted_of(image_of(path), overwrite=True)) == [
        f"failure: disk vda: {path} belongs to the domain {other} there"
    ]
    scene.host.virsh("undefine", "db1")


@pytest_twisted.ensureDeferred
async def test_a_domain_that_is_there_already(scene: Scene) -> None:
    arrivals, path = scene.arrivals(), make(scene.directory / "old.raw")
    wanted = wanted_of(image_of(scene.pool / "a.raw"))
    scene.host.virsh("create", _file(scene, domain(path)))
    assert await texts(arrivals, wanted) == ["failure: web1 is running at the destination already"]
    with pytest.raises(NotMigratable, match="web1 is running at the destination already"):
        await begin(arrivals, wanted)
    scene.host.virsh("destroy", "web1")
    scene.host.virsh("create", _file(scene, domain(path, uuid="99999999-2222-3333-4444-555555555555")))
    (line,) = await texts(arrivals, wanted)
    assert "another domain called web1, with the UUID 99999999-2222" in line
    assert scene.volumes() == []


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
    _kill(scene)
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
    _kill(scene, identity(os.getppid()))
    await scene.arrivals().sweep()
    assert scene.volumes() == ["a.raw"]  # that process lives
    assert any("another nbdtun works on it" in line for line in said)
    _kill(scene)
    await scene.arrivals().sweep()
    assert scene.volumes() == []
    assert not os.path.exists(left.directory)
    assert "web1: removed what an earlier migration had made" in said


def _kill(scene: Scene, maker: str = "1 2 3") -> None:
    """As if another process had made it, which is gone."""
    kept = record(scene.directory / "state", UUID)
    left = kept.read()
    assert left is not None
    kept.write(evolve(left, maker=maker))


@pytest_twisted.ensureDeferred
async def test_what_was_handed_over_is_never_removed(scene: Scene) -> None:
    wanted = wanted_of(image_of(scene.pool / "a.raw"))
    arrival, _ = await begin(scene.arrivals(), wanted)
    arrival.handing_over()
    _kill(scene)
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


@pytest.fixture
def incoming(scene: Scene) -> Iterator[Callable[[Arrival], None]]:
    """libvirt's own migration to the arrival's images, from a second host, which stops in the middle of the disk."""
    source = scene.directory / "source"
    with ExitStack() as stack:
        here = stack.enter_context(Host(scene.directory, "here"))
        source.mkdir()

        def start(arrival: Arrival) -> None:
            disk = fill(make(source / "a.raw", 8 * MIB))
            subprocess.run(["qemu-io", "-f", "raw", "-c", "write -P 7 0 8M", disk], check=True, capture_output=True)
            here.virsh("create", _file(scene, domain(disk)))
            to = {"migrate_uri": f"unix:{arrival.memory}", "disks_uri": f"unix://{arrival.disks}", "bandwidth": 1}

            def run() -> None:
                with asking() as binding:
                    connection = binding.open(here.uri)
                    flags = binding.VIR_MIGRATE_LIVE | binding.VIR_MIGRATE_PEER2PEER | binding.VIR_MIGRATE_NON_SHARED_DISK
                    parameters = {**to, "destination_xml": arrival.wanted.xml}
                    with suppress(binding.libvirtError):
                        connection.lookupByName("web1").migrateToURI3(scene.host.uri, parameters, flags)

            thread = threading.Thread(target=run, daemon=True)
            thread.start()
            wait(lambda: "paused" in scene.host.virsh("list"), 30, "an incoming domain", here)
            wait(lambda: (scene.pool / "a.raw").stat().st_blocks > 0, 30, "some of its disk", here)

        yield start


@pytest_twisted.ensureDeferred
async def test_a_domain_that_waits_is_ended_and_leaves_nothing(scene: Scene, incoming: Callable[[Arrival], None]) -> None:
    wanted = wanted_of(image_of(scene.pool / "a.raw"))
    first, _ = await begin(scene.arrivals(), wanted)
    incoming(first)
    _kill(scene)
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


def test_a_user_whom_libvirt_does_not_admit_reads_why(scene: Scene) -> None:
    program = f"""
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from nbdtun.libvirt.connection import Libvirt
def end(result): print(getattr(result, "value", result)); reactor.stop()
reactor.callWhenRunning(lambda: Deferred.fromCoroutine(Libvirt(reactor, {scene.host.uri!r}).open()).addBoth(end))
reactor.run()
"""
    command = ["setpriv", "--reuid", NOBODY, "--clear-groups", sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"], "HOME": "/"})
    assert "Permission denied; run nbdtun as root, or as a user of the group libvirt" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr == ""
