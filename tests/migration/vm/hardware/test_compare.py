"""The rules of the comparison, without a QEMU."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.vm.hardware.blocks import parse
from nbdtun.migration.vm.hardware.compare import allow, compare
from nbdtun.migration.vm.hardware.model import Block, Device, Hardware, Scalar
from nbdtun.migration.vm.machine import Machine

BRIDGE = "board/q35-pcihost~0"
CPU: dict[str, Scalar] = {
    "type": "Nehalem-x86_64-cpu",
    "vendor": "GenuineIntel",
    "model": 26,
    "level": 11,
    "phys-bits": 40,
    "sse2": True,
    "aes": False,
}
NIC = Device(f"{BRIDGE}/pci:05.0", "virtio-net-pci", "n0", {"vectors": 4})
NIC_ITSELF = Device(f"{BRIDGE}/pci:05.0/virtio", "virtio-net-device", "n0", {"mq": True, "mac": "52:54:00:00:00:01"})
DISK = Device(f"{BRIDGE}/pci:06.0", "virtio-blk-pci")
HERE = Hardware(
    Machine("pc-q35-7.2-machine", 1 << 27), "7.2.22", "tcg", {"slots": 4}, CPU, ("core 0",),
    (Device(BRIDGE, "q35-pcihost"), NIC, NIC_ITSELF, DISK), (Block("pc.ram", 1 << 27, 1 << 27),),
)  # fmt: skip


def told(there: Hardware, here: Hardware) -> list[tuple[str, str, str]]:
    return [(one.level.value, one.name, one.what) for one in compare(there, here)]


def without(*gone: Device, **more: Any) -> Hardware:
    return evolve(HERE, devices=tuple(device for device in HERE.devices if device not in gone), **more)


def cpu(**changed: Any) -> Hardware:
    return evolve(HERE, cpu=CPU | {name.replace("_", "-"): value for name, value in changed.items()})


def test_alike() -> None:
    assert compare(HERE, HERE) == []
    assert compare(Hardware(HERE.machine), HERE) == compare(HERE, Hardware(HERE.machine)) == []  # a QEMU that does not tell


@pytest.mark.parametrize(
    ("there", "here", "level", "what"),
    [
        (cpu(aes=True), HERE, "failure", "the destination's CPU lacks aes"),
        (HERE, cpu(aes=True), "warning", "the destination's CPU has aes, which the source's lacks"),
        (HERE, cpu(avx=False), "", ""),
        (HERE, cpu(avx=True), "warning", "the destination's CPU has avx, which the source's lacks"),
        (HERE, cpu(vendor="AuthenticAMD"), "failure", "the CPU's vendor is GenuineIntel at the source and AuthenticAMD at"),
        (HERE, cpu(model=27), "warning", "the CPU's model is 26 at the source and 27 at the destination"),
        (HERE, cpu(phys_bits=39), "failure", "the CPU's phys-bits is 40 at the source and 39 at the destination"),
        (HERE, cpu(phys_bits=41), "warning", "the CPU's phys-bits is 40 at the source and 41 at the destination"),
        (
            HERE, evolve(HERE, processors=("core 0", "core 1 (empty)")), "failure",
            "there are 1 CPUs at the source and 1 of 2 at the destination (at the destination only: core 1 (empty))",
        ),
        (HERE, without(NIC, NIC_ITSELF), "failure", "n0 (virtio-net-pci at pci:05.0) is missing at the destination"),
        (HERE, without(DISK), "failure", "virtio-blk-pci at pci:06.0 is missing at the destination"),
        (without(DISK), HERE, "warning", "virtio-blk-pci at pci:06.0 exists only at the destination"),
        (
            HERE, evolve(without(DISK), devices=(*without(DISK).devices, evolve(DISK, key=f"{BRIDGE}/pci:07.0"))), "failure",
            "virtio-blk-pci at pci:06.0 is at pci:07.0 at the destination",
        ),
        (HERE, evolve(HERE, accelerator="kvm"), "failure", "the guest runs with tcg at the source and with kvm at the destination"),
        (HERE, evolve(HERE, settings={"slots": 2}), "failure", "the machine's slots is 4 at the source and 2 at the destination"),
        (HERE, evolve(HERE, settings={}), "", ""),
        (HERE, evolve(HERE, blocks=(Block("mem0", 1 << 27, 1 << 27),)), "failure", "the RAM block pc.ram of the source is missing"),
        (HERE, evolve(HERE, blocks=(Block("pc.ram", 5, 5),)), "failure", "the RAM block pc.ram has 128 MiB at the source and 5 B"),
        (HERE, evolve(HERE, blocks=(*HERE.blocks, Block("more", 5, 5))), "", ""),
        (evolve(HERE, usb=("Kbd at port 1 of bus 0",)), HERE, "failure", "Kbd at port 1 of bus 0 at the source; "),
    ],
)  # fmt: skip
def test_one_difference(there: Hardware, here: Hardware, level: str, what: str) -> None:
    found = told(there, here)
    assert [one[0] for one in found] == [level] * bool(level)
    assert all(one[2].startswith(what) for one in found)


def replaced(device: Device, **facts: Any) -> Hardware:
    other = evolve(device, facts={**device.facts, **facts})
    return evolve(HERE, devices=tuple(other if each is device else each for each in HERE.devices))


def test_facts_of_devices() -> None:
    assert told(HERE, replaced(NIC, vectors=3)) == [
        ("failure", "n0", "n0 (virtio-net-pci at pci:05.0) has vectors=4 at the source and 3 at the destination")
    ]
    assert told(HERE, replaced(NIC_ITSELF, mq=False)) == [("failure", "n0", "n0 (virtio-net at pci:05.0) lacks mq at the destination")]
    assert told(replaced(NIC_ITSELF, mq=False), HERE) == [("warning", "n0", "n0 (virtio-net at pci:05.0) has mq only at the destination")]
    assert [one[0] for one in told(HERE, replaced(NIC_ITSELF, mac="x"))] == ["warning"]
    assert told(HERE, replaced(NIC_ITSELF, in_order=True)) == []  # which the other release does not know


def test_blocks_of_a_device_that_is_missing_are_not_told_too() -> None:
    dimm = Device("board/memory:0x100000000", "pc-dimm", "dimm1", {"memdev": "/objects/m1"})
    rom = Block("0000:00:05.0/virtio-net-pci.rom", 5, 5)
    there = evolve(HERE, devices=(*HERE.devices, dimm), blocks=(*HERE.blocks, rom, Block("m1", 5, 5)))
    assert [name for _, name, _ in told(there, without(NIC, NIC_ITSELF))] == ["dimm1", "n0"]


def test_a_table_for_the_firmware_may_become_larger() -> None:
    there = evolve(HERE, blocks=(Block("/rom@etc/acpi/tables", 1 << 17, 1 << 21),))
    assert told(there, evolve(HERE, blocks=(Block("/rom@etc/acpi/tables", 1 << 16, 1 << 21),))) == []
    assert len(told(there, evolve(HERE, blocks=(Block("/rom@etc/acpi/tables", 1 << 16, 1 << 16),)))) == 1


@pytest.mark.parametrize(
    ("kind", "level"),
    [
        *(
            (kind, "failure")
            for kind in ("vhost-user-blk-pci", "vhost-scsi-pci", "vhost-user-scsi-pci", "vhost-user-fs-pci", "virtio-9p-pci")
        ),
        *((kind, "failure") for kind in ("vfio-pci", "scsi-block", "scsi-generic", "usb-host", "usb-mtp", "virtio-pmem-pci")),
        ("ivshmem-plain", "warning"),
        ("nvdimm", ""),
        ("scsi-hd", ""),
    ],
)
def test_what_keeps_content_that_nobody_carries(kind: str, level: str) -> None:
    """Though it is the same at both ends."""
    both = evolve(HERE, devices=(*HERE.devices, Device(f"{BRIDGE}/pci:08.0", kind, "x")))
    assert [(one.level.value, one.check, one.name) for one in compare(both, both)] == [(level, "content", "x")] * bool(level)


def test_a_tpm_of_the_host() -> None:
    both = evolve(HERE, keepers=("passthrough",))
    assert [name for _, name, _ in told(both, both)] == ["tpm"]
    assert told(evolve(HERE, keepers=("emulator",)), HERE) == []


def test_what_is_allowed_is_a_warning() -> None:
    findings = [Finding(Level.FAILURE, "cpu", "less", "more", "not-migratable", "cpu"), Finding(Level.FAILURE, "ram", "r", name="m1")]
    assert allow(findings, ()) == findings
    assert allow(findings, ("cpu", "x")) == [
        Finding(Level.WARNING, "cpu", "less (allowed)", name="cpu"),
        findings[1],
        Finding(Level.WARNING, "allowed", "--allow-mismatch x has no effect: no failure has that name"),
    ]


KEYS = st.lists(st.sampled_from([f"{BRIDGE}/pci:{slot:02x}.0" for slot in range(8)]), unique=True)
DEVICES = KEYS.flatmap(
    lambda keys: st.tuples(*(st.builds(Device, st.just(key), st.sampled_from("ab"), st.sampled_from(["", "x", "y"])) for key in keys))
)


@given(DEVICES, DEVICES)
def test_nothing_of_the_source_is_missing_in_silence(there: tuple[Device, ...], here: tuple[Device, ...]) -> None:
    host = Device(BRIDGE, "q35-pcihost")
    one, other = (evolve(HERE, devices=(host, *devices)) for devices in (there, here))
    failed = [finding for finding in compare(one, other) if finding.level is Level.FAILURE]
    mine = {device.key: device.kind for device in here}
    for device in there:
        assert mine.get(device.key) == device.kind or any(finding.what.startswith(str(device)) for finding in failed)
    assert compare(one, one) == []
    assert bool(one.changes(other)) == ({device.key: device for device in there} != {device.key: device for device in here})


TABLE = """
              Block Name    PSize              Offset               Used              Total                HVA  RO
                  pc.ram    4 KiB  0x0000000000000000 0x0000000008000000 0x0000000008000000 0x00007fc4c3e00000  rw
    /rom@etc/acpi/tables    2 MiB  0x00000000100c0000 0x0000000000020000 0x0000000000200000 0x00007fc4d3a00000  ro
"""


def test_the_table_of_blocks_of_both_releases() -> None:
    both = (Block("/rom@etc/acpi/tables", 0x20000, 0x200000), Block("pc.ram", 1 << 27, 1 << 27))
    assert parse(TABLE) == both
    assert parse("\n".join(line[:100] for line in TABLE.splitlines())) == both
    assert parse("what is this\nKiB 0x") == ()


@given(st.text())
def test_no_text_is_too_strange(text: str) -> None:
    parse(text)
