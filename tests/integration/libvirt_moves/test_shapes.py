"""Domains and disks in all their shapes: each guest arrives with every tick."""

from __future__ import annotations

import base64
import os
import pwd
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from lab.cache import CACHE, fetch
from lab.daemon import free_port
from lab.disks import MIB, Disk
from lab.domain import Domain
from lab.libvirt import SPARE, Host, Modular, Session
from lab.libvirt_way import PATIENT, Way, made
from lab.process import wait

IMAGES = Path("/var/lib/libvirt/images")
NVRAM = Path("/var/lib/libvirt/qemu/nvram/web1.fd")
OVMF = Path("/usr/share/OVMF")
FIRMWARE = f"""
    <loader readonly='yes' type='pflash'>{OVMF}/OVMF_CODE_4M.fd</loader>
    <nvram template='{OVMF}/OVMF_VARS_4M.fd'>{NVRAM}</nvram>"""
CDROM = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/><readonly/></disk>"
READ = f"<disk type='file'><source file='{SPARE}/read.raw'/><target dev='vdy' bus='virtio'/><readonly/></disk>"
TPM = "<tpm model='tpm-tis'><backend type='emulator' version='2.0'/></tpm>"


@pytest.fixture
def second_bridge() -> Iterator[str]:
    """Another bridge of both hosts."""
    name = f"nbu{os.getpid()}"[:15]
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    yield name
    subprocess.run(["ip", "link", "del", name], check=True)


def furnished(directory: Path, name: str) -> Host:
    """A host whose QEMUs have a user of their own, with a medium, and a disk that nobody writes to."""
    host = Host(directory, name, user="libvirt-qemu", keepalive="")
    for file in ("cd.iso", "read.raw"):
        (host.spare / file).write_bytes(name.encode().ljust(512) * 256)
    return host


@pytest.mark.slow
def test_two_disks_go_to_a_pool_at_another_path(ways: Callable[..., Way], bridge: str, second_bridge: str) -> None:
    """Their owners and modes are those of the source's. What is only read stays, and the destination must have it."""
    way = ways("raw", "qcow2", persistent=True, devices=CDROM + READ, host=furnished)
    here, there = way.ends
    here.virsh("change-media", "web1", "sda", f"{SPARE}/cd.iso", "--insert", "--live", "--config")
    there.path(f"{IMAGES}").mkdir(exist_ok=True)
    there.virsh("pool-create-as", "images", "dir", "--target", f"{IMAGES}")
    maps = [f"--map={SPARE / disk.path.name}={IMAGES / disk.path.name}" for disk in way.domain.disks]
    with way.migrate("--connections", "2", *maps, f"--map={bridge}={second_bridge}") as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    assert sorted(disk["node"] for disk in attempt.last["disks"]) == ["vda", "vdb"]
    way.arrived(there, IMAGES)
    for disk in way.domain.disks:
        arrived = there.path(f"{IMAGES / disk.path.name}")
        assert f"{IMAGES / disk.path.name}" in there.virsh("dumpxml", "--inactive", "web1")
        assert (arrived.stat().st_uid, arrived.stat().st_mode) == (pwd.getpwnam("libvirt-qemu").pw_uid, disk.path.stat().st_mode)
    assert here.virsh("list", "--all", "--name") == ""
    there.virsh("vol-info", "vda.raw", "--pool", "images")
    for file in ("cd.iso", "read.raw"):
        assert f"{SPARE}/{file}" in there.virsh("domblklist", "web1")
    assert (there.spare / "read.raw").read_bytes().startswith(b"there ")
    assert second_bridge in there.virsh("domiflist", "web1")


@pytest.mark.slow
def test_images_that_are_there(ways: Callable[..., Way]) -> None:
    """One of another size is refused, one that is not empty needs --overwrite, and an empty one is used."""
    way = ways("raw")
    there = way.ends[1]
    image = there.spare / "vda.raw"
    with image.open("wb") as file:
        file.truncate(1 << 20)
    for options, said in (((), "1048576 bytes (1 MiB) there, and 67108864 (64 MiB) at the source"), ((), "not empty")):
        with way.migrate(*options, tidy=False) as attempt:
            assert attempt.wait_exit(PATIENT) == 1
            assert said in attempt.log()
        assert image.exists()
        image.write_bytes(b"x" * (64 << 20))
    inode = image.stat().st_ino
    with way.migrate("--overwrite", tidy=False) as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)
    assert image.stat().st_ino == inode


@pytest.mark.slow
@pytest.mark.skipif(not OVMF.is_dir(), reason="ovmf is not installed")
def test_firmware_with_its_variables_and_a_tpm_go_there_and_back(ways: Callable[..., Way]) -> None:
    way = ways("qcow2", persistent=True, firmware=FIRMWARE, devices=TPM, memory=256)
    here, there = way.ends
    kept = here.path(f"{NVRAM}").read_bytes()
    for origin, end in ((here, there), (there, here)):
        with way.migrate("--overwrite") as attempt:
            assert attempt.wait_exit(2 * PATIENT) == 0, attempt.log()
        way.arrived(end)
        assert end.path(f"{NVRAM}").read_bytes() == kept
        assert origin.virsh("list", "--all", "--name") == ""
    assert kept != (OVMF / "OVMF_VARS_4M.fd").read_bytes()


@pytest.mark.slow
def test_a_paused_domain_arrives_paused(ways: Callable[..., Way]) -> None:
    way = ways()
    here, there = way.ends
    here.virsh("suspend", "web1")
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    assert there.virsh("domstate", "web1") == "paused"
    assert here.virsh("list", "--all", "--name") == ""
    there.virsh("resume", "web1")
    way.arrived(there)


@pytest.mark.slow
def test_two_domains_at_the_same_time(ways: Callable[..., Way]) -> None:
    one = ways()
    here, there = one.ends
    other = one.beside(Domain(one.domain.guest, (made(here, "other", "qcow2"),), name="db1", bridge=one.domain.bridge))
    other.domain.start(here, persistent=True)
    other.domain.wait_ticks(here, 3, PATIENT)
    with one.migrate() as first, other.migrate("--connections", "2") as second:
        assert first.wait_exit(PATIENT) == 0, first.log()
        assert second.wait_exit(PATIENT) == 0, second.log()
    one.arrived(there)
    other.arrived(there)
    assert [each for host in (here, there) for each in one.left(host) if "/run/" in each] == []


@pytest.mark.slow
def test_snapshots_and_checkpoints_are_in_the_way(ways: Callable[..., Way]) -> None:
    way = ways("qcow2", persistent=True)
    here, there = way.ends
    here.virsh("checkpoint-create-as", "web1", "c1")
    with way.command(here, "check", "web1", "--libvirt", *way.to(there), "--json") as check:
        assert check.wait_exit(PATIENT) == 1
    assert "web1 has 1 checkpoints, and libvirt moves no such domain" in check.log()
    assert "virsh checkpoint-delete" in check.log()
    here.virsh("checkpoint-delete", "web1", "c1")
    here.virsh("snapshot-create-as", "web1", "s1", timeout=PATIENT)
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 1
        assert "web1 has 1 snapshots, and libvirt moves no such domain" in attempt.log()
    here.virsh("snapshot-delete", "web1", "s1")
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)


@pytest.mark.slow
def test_xml_of_its_own_for_the_destination(ways: Callable[..., Way], bridge: str, second_bridge: str) -> None:
    """A description, a bridge and an image's path are those of --dest-xml."""
    way = ways(persistent=True)
    here, there = way.ends
    there.path(f"{IMAGES}").mkdir(exist_ok=True)
    xml = here.virsh("dumpxml", "--migratable", "web1").replace(f"{SPARE}/vda.raw", f"{IMAGES}/vda.raw").replace(bridge, second_bridge)
    file = here.spare / "there.xml"
    file.write_text(xml.replace("<memory ", "<description>moved</description><memory ", 1))
    with way.migrate("--dest-xml", f"{SPARE}/there.xml") as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there, IMAGES)
    assert there.virsh("desc", "web1") == "moved"
    for options in ((), ("--inactive",)):
        assert second_bridge in there.virsh("domiflist", "web1", *options)


@pytest.mark.slow
def test_a_full_pool(ways: Callable[..., Way]) -> None:
    way = ways()
    here, there = way.ends
    there.path(f"{IMAGES}").mkdir(exist_ok=True)
    with way.inside(there, "mount", "-t", "tmpfs", "-o", "size=1m", "full", f"{IMAGES}") as mount:
        assert mount.wait_exit(PATIENT) == 0, mount.log()
    with way.migrate("--map", f"{SPARE}/vda.raw={IMAGES}/vda.raw") as attempt:
        assert attempt.wait_exit(PATIENT) == 1
    assert f"{IMAGES}: the disks need 32 MiB, and 1 MiB are free" in attempt.log()
    way.stays(here)


@pytest.mark.slow
def test_a_code_leads_to_libvirt(ways: Callable[..., Way]) -> None:
    """For this VM alone; the receiver ends with it."""
    way = ways()
    here, there = way.ends
    address = f"127.0.0.1:{free_port()}"
    words = ["web1", "--libvirt", "--listen", address, "--admit", f"{SPARE}", "--admit", f"{CACHE}"]
    with way.command(there, "receive", *words) as receiver:
        wait(lambda: "the code is " in receiver.log(), PATIENT, "the code", receiver)
        code = receiver.log().partition("the code is ")[2].partition(",")[0]
        with way.migrate("--code", code, to=["--to", address]) as attempt:
            assert attempt.wait_exit(PATIENT) == 0, attempt.log()
        assert receiver.wait_exit(PATIENT) == 0, receiver.log()
    way.arrived(there)
    assert [each for each in way.left(there) if "/run/" in each] == []
    assert here.virsh("list", "--all", "--name") == ""


@pytest.mark.slow
def test_an_ordinary_users_own_libvirt(ways: Callable[..., Way]) -> None:
    """At both ends the same path must be one that this user can make."""
    way = ways("raw", "qcow2", persistent=True, host=Session)
    here, there = way.ends
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)
    assert (there.spare / "vda.raw").stat().st_uid == (here.spare / "vda.raw").stat().st_uid
    assert [each for host in (here, there) for each in way.left(host) if "/lib/" not in each] == []


@pytest.mark.slow
def test_the_modular_daemons(ways: Callable[..., Way]) -> None:
    """virtqemud has the VM, and virtstoraged its pools: there and back, and what is missing there is said."""
    try:
        fetch("modular.sh")
    except RuntimeError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"libvirt's modular daemons cannot be compiled: {error}")
    way = ways("qcow2", persistent=True, host=partial(Modular, keepalive=""))
    here, there = way.ends
    there.path(f"{IMAGES}").mkdir(exist_ok=True)
    there.virsh("pool-create-as", "images", "dir", "--target", f"{IMAGES}")
    with way.migrate("--map", f"{SPARE}/vda.qcow2=/etc/vda.qcow2") as attempt:
        assert attempt.wait_exit(PATIENT) == 1
        assert "/etc/vda.qcow2 is in no storage pool there" in attempt.log()
    with way.migrate("--map", f"{SPARE}/vda.qcow2={IMAGES}/vda.qcow2") as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there, IMAGES)
    there.virsh("vol-info", "vda.qcow2", "--pool", "images")
    with way.migrate("--map", f"{IMAGES}/vda.qcow2={SPARE}/vda.qcow2") as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    assert here.virsh("list", "--name") == "web1"
    way.domain.wait_ticks(here, 3, PATIENT)
    for host in way.hosts:
        assert not host.path("/run/libvirt/libvirt-sock").exists()
        assert host.path("/run/libvirt/virtstoraged-sock").exists()


@pytest.mark.slow
def test_an_image_with_a_backing_file_arrives_whole(ways: Callable[..., Way]) -> None:
    way = ways("qcow2", persistent=True)
    here, there = way.ends
    here.virsh("snapshot-create-as", "web1", "--disk-only", "--no-metadata", "--diskspec", f"vda,file={SPARE}/top.qcow2")
    top = replace(way.domain.disk, path=here.spare / "top.qcow2")
    over = way.beside(replace(way.domain, disks=(top,)))
    with over.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    over.arrived(there)
    assert not (there.spare / "vda.qcow2").exists()


@pytest.mark.slow
def test_a_volume_goes_to_a_pool_of_another_name(ways: Callable[..., Way]) -> None:
    """It was plugged in while the guest ran."""
    way = ways(persistent=True)
    here, there = way.ends
    for host, name in ((here, "silver"), (there, "gold")):
        host.path(f"{IMAGES}").mkdir(exist_ok=True)
        host.virsh("pool-create-as", name, "dir", "--target", f"{IMAGES}")
    disk = Disk(here.path(f"{IMAGES}/data.qcow2"), 64 * MIB, "qcow2", seed=3).make()
    here.virsh("pool-refresh", "silver")
    xml = here.spare / "volume.xml"
    xml.write_text(
        "<disk type='volume' device='disk'><driver name='qemu' type='qcow2'/><source pool='silver' volume='data.qcow2'/>"
        "<target dev='vdb' bus='virtio'/></disk>"
    )
    here.virsh("attach-device", "web1", f"{xml}", "--live", "--config")
    with way.migrate("--map", "silver=gold") as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)
    assert disk.twin(there.path(f"{IMAGES}/data.qcow2")).wrong(0) == []
    assert "pool='gold'" in there.virsh("dumpxml", "web1", "--inactive")


@pytest.mark.slow
def test_an_encrypted_disk_needs_its_secret_at_both_hosts(ways: Callable[..., Way]) -> None:
    way = ways()
    here, there = way.ends
    disk = Disk(here.spare / "plain.raw", 16 * MIB, seed=4).make()
    _keep_secret(here)
    target = ["--target-image-opts", _luks(here, create=True)]
    subprocess.run(["qemu-img", "convert", "-n", *KEY, "-f", "raw", f"{disk.path}", *target], check=True)
    xml = here.spare / "luks.xml"
    xml.write_text(
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{SPARE}/luks.raw'/><target dev='vdb' bus='virtio'/>"
        f"<encryption format='luks'><secret type='passphrase' uuid='{SECRET}'/></encryption></disk>"
    )
    here.virsh("attach-device", "web1", f"{xml}", "--live")
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 1
    assert f"disk vdb: libvirt there has no secret {SECRET}; define it there, with its value: virsh secret-define" in attempt.log()
    _keep_secret(there)
    with way.migrate() as attempt:
        assert attempt.wait_exit(PATIENT) == 0, attempt.log()
    way.arrived(there)
    there.virsh("destroy", "web1")
    arrived = there.spare / "plain.raw"
    subprocess.run(["qemu-img", "convert", *KEY, "--image-opts", _luks(there), "-O", "raw", f"{arrived}"], check=True)
    assert disk.twin(arrived).wrong(0) == []


SECRET = "22222222-2222-2222-2222-222222222222"
KEY = ("--object", "secret,id=key,data=hush")


def _luks(host: Host, *, create: bool = False) -> str:
    """A disk that is encrypted with the secret, as qemu-img knows it; it is made first if `create`."""
    path = host.spare / "luks.raw"
    if create:
        subprocess.run(["qemu-img", "create", "-q", *KEY, "-f", "luks", "-o", "key-secret=key", f"{path}", "16M"], check=True)
    return f"driver=luks,file.filename={path},key-secret=key"


def _keep_secret(host: Host) -> None:
    file = host.spare / "secret.xml"
    file.write_text(f"<secret ephemeral='yes' private='yes'><uuid>{SECRET}</uuid></secret>")
    host.virsh("secret-define", f"{file}")
    host.virsh("secret-set-value", SECRET, base64.b64encode(b"hush").decode())
