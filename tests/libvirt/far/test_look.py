"""Findings of hosts that no libvirtd here is; integration/libvirt_far has those of a real one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve

from nbdtun.libvirt.far import look as module
from nbdtun.libvirt.far.admission import Rules
from nbdtun.libvirt.far.look import look
from nbdtun.libvirt.host import Domain
from nbdtun.libvirt.pools import Pool
from nbdtun.libvirt.values import Image, Wanted
from nbdtun.migration.finding import Level
from tests.libvirt.far.stage import Told, scene, xml
from tests.libvirt.stage import MIB, UUID

WANTED = Wanted("web1", UUID, xml())
GUEST = Domain("web1", UUID, "paused", "migration", True, True)


def found(told: Told | None = None, wanted: Wanted = WANTED, ours: frozenset[str] = frozenset()) -> list[str]:
    return [f"{finding}" for finding in look(scene(told or Told(), ours), wanted).findings]


def of(text: str, told: Told | None = None) -> list[str]:
    return found(told, evolve(WANTED, xml=text))


def test_all_is_well() -> None:
    told = look(scene(Told()), WANTED)
    assert (told.findings, told.libvirt, told.hypervisor) == ((), 9_000_000, 7_002_000)


@pytest.mark.parametrize(
    ("host", "name", "says"),
    [("host-1", "here", "both hosts have the UUID host-1"), ("host-2", "there", "both hosts are called there")],
)
def test_both_ends_are_one_host(host: str, name: str, says: str) -> None:
    (line,) = found(wanted=evolve(WANTED, host=host, hostname=name))
    assert line.startswith(f"{says}, so that libvirt takes them for one; ")


def test_no_kvm() -> None:
    (line,) = found(Told(kinds=frozenset({"qemu"})))
    assert line == (
        "the destination runs no domains of type kvm for x86_64: it has no KVM, or this user may not use it; "
        "load its module there: modprobe kvm_intel, or kvm_amd; see /dev/kvm"
    )


def test_neither_firmware_nor_swtpm() -> None:
    tpm = "<tpm><backend type='emulator'/></tpm>"
    lines = of(xml(os=" firmware='efi'", devices=tpm), Told(firmware=frozenset(), tpms=frozenset()))
    assert lines == [
        "libvirt there finds no UEFI firmware for the domain; install it there: ovmf",
        "libvirt there has no TPM of the kind emulator; install swtpm there",
    ]


def test_what_else_is_missing_where_the_machine_or_kvm_is() -> None:
    wanted = xml(os=" firmware='efi'", cpu="<cpu><model>EPYC</model></cpu>", devices="<tpm><backend type='emulator'/></tpm>")
    bare = Told(machines=frozenset(), firmware=frozenset(), tpms=frozenset(), lack="it lacks sse4a")
    no_machine, *others = of(wanted, bare)
    assert no_machine == "no machine pc-q35-7.2; install a QEMU there that has it, or name that one's path with --map"
    assert [line.partition(";")[0] for line in others] == [
        "libvirt there finds no UEFI firmware for the domain",
        "libvirt there has no TPM of the kind emulator",
        "the guest's CPU: it lacks sse4a",
    ]
    no_kvm, *more = of(wanted, evolve(bare, kinds=frozenset({"qemu"})))
    assert no_kvm.startswith("the destination runs no domains of type kvm for x86_64")
    assert more == [no_machine, *others[:2]]  # what QEMU emulates is another CPU


def test_each_lack_has_its_remedy() -> None:
    devices = "<tpm><backend type='passthrough'/></tpm>"
    for told in (Told(tpms=frozenset()), Told(kinds=frozenset({"qemu"}))):
        lacking = look(scene(told), evolve(WANTED, xml=xml(devices=devices))).findings
        assert lacking
        assert all(finding.remedy for finding in lacking)


def test_a_cpu() -> None:
    (line,) = of(xml(cpu="<cpu mode='custom'><model>EPYC</model></cpu>"), Told(lack="it lacks sse4a"))
    assert line.startswith("the guest's CPU: it lacks sse4a; use a CPU model")
    (line,) = of(xml(cpu="<cpu mode='host-passthrough'/>"), Told(lack="not asked"))
    assert "cannot be compared" in line
    assert of(xml(cpu="<cpu mode='maximum'/>"), Told(lack="not asked")) == []


def test_the_persistent_domain_names_no_more_than_is_admitted() -> None:
    """It would only be told when the guest's memory has arrived."""
    shadow = "<disk type='file'><source file='/etc/shadow'/><target dev='vdz'/></disk>"

    def said(wanted: Wanted) -> list[str]:
        return [finding.what for finding in look(scene(Told(), rules=Rules()), wanted).findings if "/etc/shadow" in finding.what]

    assert said(evolve(WANTED, persistent=xml(devices=shadow))) == [
        "/etc/shadow is in no storage pool there, and in no directory that nbdtun there admits"
    ]
    assert len(said(evolve(WANTED, xml=xml(devices=shadow), persistent=xml(devices=shadow)))) == 1
    (line,) = found(wanted=evolve(WANTED, persistent=xml(devices="<hostdev mode='subsystem' type='usb'/>")))
    assert "a device of its host" in line


def test_networks_and_interfaces_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ovsbr").mkdir()
    monkeypatch.setattr(module, "_LINKS", tmp_path)
    devices = """<interface type='network'><source network='idle'/></interface>
        <interface type='bridge'><source bridge='ovsbr'/><virtualport/></interface>
        <interface type='direct'><source dev='eth9'/></interface><interface type='direct'><source dev='../etc'/></interface>"""
    assert of(xml(devices=devices), Told(networks={"idle": False})) == [
        "the network idle is not active; start it there: virsh net-start idle",
        "there is no network interface eth9; make it there, or name another one with --map",
        "there is no network interface ../etc; make it there, or name another one with --map",
    ]


@pytest.mark.parametrize(
    ("domain", "ours", "says"),
    [
        (GUEST, frozenset({"/run/d"}), []),  # it was left by an attempt that is known
        (GUEST, frozenset(), ["web1 is waiting there for another migration, and at the destination already"]),
        (evolve(GUEST, state="running", arrives=False), frozenset({"/run/d"}), ["web1 is running at the destination already"]),
        (evolve(GUEST, state="shutoff", active=False, arrives=False), frozenset(), []),  # libvirt takes it for the same
        (evolve(GUEST, name="old"), frozenset(), ["the destination has this domain under the name old"]),
    ],
)
def test_the_domain_is_there(domain: Domain, ours: frozenset[str], says: list[str]) -> None:
    assert [line.partition(";")[0] for line in found(Told(domains=[domain]), ours=ours)] == says


def test_a_user_who_cannot_use_qemus_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(module, "own_name", lambda: "ann")
    (line,) = found(Told(owner=(64055, 106)))
    assert line.startswith("nbdtun there runs as ann, who cannot use the sockets of libvirt's QEMUs (user 64055); run it as root")
    assert found(Told(owner=(1000, 1000))) == []
    assert found(Told(owner=None)) == []  # qemu:///session


def test_an_nvram_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "web1.fd"
    path.write_bytes(bytes(100))
    wanted = evolve(WANTED, xml=xml(firmware=f"<nvram>{path}</nvram>"), nvram=200)
    assert [line.partition(";")[0] for line in found(wanted=wanted)] == [f"the NVRAM: {path} has 100 bytes there, and 200 at the source"]
    same = evolve(wanted, nvram=100)
    assert [line.partition(";")[0] for line in found(wanted=same)] == [f"the NVRAM: {path} is there already"]
    assert found(wanted=evolve(same, overwrite=True)) == []
    assert found(wanted=same, ours=frozenset({f"{path}"})) == []


def test_a_host_device_and_all_else_that_is_wrong() -> None:
    devices = "<hostdev type='pci'/><disk device='cdrom'><source file='/nowhere/a.iso'/><target dev='sda'/></disk>"
    assert of(xml(devices=devices)) == [
        "the domain's XML has <hostdev>, a device of its host; detach it before the migration",
        "disk sda: /nowhere/a.iso is not there; copy it there, or name another one with --map",
    ]


def test_images_twice_and_of_other_domains(tmp_path: Path) -> None:
    path = f"{tmp_path}/a"
    images = (Image("vda", path, "raw", MIB), Image("vdb", path, "raw", MIB))
    told = Told(users={path: frozenset({"other"})})
    assert [line.partition(";")[0] for line in found(told, evolve(WANTED, images=images, overwrite=True))] == [
        f"disk vda: {path} belongs to the domain other there",
        f"disk vdb: {path} is disk vda's already",
        f"disk vdb: {path} belongs to the domain other there",
    ]


def test_a_pool_that_is_too_small_for_all() -> None:
    pool = Pool("vg0", "logical", "/dev/none", available=3 * MIB)
    images = tuple(Image(f"vd{letter}", f"/dev/none/{letter}", "raw", 2 * MIB, device=True) for letter in "ab")
    assert found(Told(pools=[pool]), evolve(WANTED, images=images)) == [
        "the storage pool vg0: the disks need 4 MiB, and 3 MiB are free; make room there, or use --map"
    ]


def test_an_owner_who_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    findings = look(
        scene(Told()), evolve(WANTED, images=(Image("vda", f"{tmp_path}/a", "raw", MIB, owner="nobody-of-that-name"),))
    ).findings
    assert [(finding.level, finding.what.partition(",")[0]) for finding in findings] == [
        (Level.WARNING, "there is no user nobody-of-that-name")
    ]
