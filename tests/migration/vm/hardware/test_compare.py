"""The whole comparison: what is compared of the machine itself and of its memory, and what may be allowed."""

from __future__ import annotations

import pytest
from attrs import evolve

from nbdtun.errors import NotMigratable
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.vm.hardware.compare import allow, compare
from nbdtun.migration.vm.hardware.model import Block, Device, Hardware
from nbdtun.migration.vm.machine import Machine
from tests.migration.vm.hardware.stage import BRIDGE, DISK, HERE, NIC, NIC_ITSELF, cpu, having, lines, replaced, without


def told(there: Hardware, here: Hardware) -> list[tuple[str, str, str]]:
    return lines(compare(there, here))


def test_alike() -> None:
    assert compare(HERE, HERE) == []
    assert compare(Hardware(HERE.machine), HERE) == compare(HERE, Hardware(HERE.machine)) == []  # a QEMU that does not tell


def test_all_differences_are_told_at_once_in_one_order() -> None:
    """The machine, its processors, its devices, its memory, and what nobody would carry."""
    there = having(Device(f"{BRIDGE}/pci:08.0", "vfio-pci", "gpu"), accelerator="kvm", blocks=(Block("m1", 5, 5),))
    here = evolve(cpu(sse2=False), devices=without(DISK).devices)
    assert [(one.check, one.name) for one in compare(there, here)] == [
        *(("machine", "accel"), ("cpu", "cpu"), ("devices", "gpu"), ("devices", "pci:06.0"), ("ram", "m1"), ("content", "gpu")),
    ]


@pytest.mark.parametrize(
    ("here", "what"),
    [
        (evolve(HERE, accelerator="kvm"), "the guest runs with tcg at the source and with kvm at the destination"),
        (evolve(HERE, accelerator=""), ""),
        (evolve(HERE, settings={"slots": 2}), "the machine's slots is 4 at the source and 2 at the destination"),
        (evolve(HERE, settings={}), ""),
        (evolve(HERE, settings={"slots": 4, "smm": "off"}), ""),  # of which the source tells nothing
        (evolve(HERE, blocks=(Block("mem0", 1 << 27, 1 << 27),)), "the RAM block pc.ram of the source is missing at the destination"),
        (evolve(HERE, blocks=(Block("pc.ram", 5, 5),)), "the RAM block pc.ram has 128 MiB at the source and 5 B at the destination"),
        (evolve(HERE, blocks=(*HERE.blocks, Block("more", 5, 5))), ""),
        (evolve(HERE, blocks=()), ""),
        (evolve(HERE, machine=Machine("pc-q35-8.0-machine", 1 << 27)), "the machine is pc-q35-7.2 at the source and pc-q35-8.0 at"),
        (evolve(HERE, machine=Machine("pc-q35-7.2-machine", 5)), "the VM has 128 MiB of RAM at the source and 5 B at"),
        (evolve(HERE, machine=Machine("", 1 << 27)), ""),
        (evolve(HERE, version="10.0.2"), ""),
    ],
)
def test_one_difference_of_the_machine(here: Hardware, what: str) -> None:
    found = told(HERE, here)
    assert [one[0] for one in found] == ["failure"] * bool(what)
    assert all(one[2].startswith(what) for one in found)


def test_the_remedy_is_the_option_that_says_it() -> None:
    there = evolve(HERE, settings={"slots": 4, "max-size": 1 << 30, "smm": "on"})
    here = evolve(HERE, settings={"slots": 2, "max-size": 1 << 29, "smm": "off"})
    assert [(one.name, one.remedy.rpartition(" ")[2]) for one in compare(there, here)] == [
        *(("max-size", "-m"), ("slots", "-m"), ("smm", "-machine")),
    ]


def test_more_memory_is_told_once() -> None:
    """With -m, and not once more by its block, which follows from that."""
    here = evolve(HERE, machine=Machine("pc-q35-7.2-machine", 1 << 28), blocks=(Block("pc.ram", 1 << 28, 1 << 28),))
    assert [one[2] for one in told(HERE, here)] == ["the VM has 128 MiB of RAM at the source and 256 MiB at the destination"]


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("mem0", "give the destination a memory backend with id=mem0"), ("0000:00:02.0/vga.rom", "use the same ROM there")],
)
def test_a_block_that_is_missing(name: str, remedy: str) -> None:
    (found,) = compare(evolve(HERE, blocks=(*HERE.blocks, Block(name, 5, 5))), HERE)
    assert (found.name, found.remedy, found.code) == (name, remedy, NotMigratable.code)


def test_blocks_of_a_device_that_is_missing_are_not_told_too() -> None:
    dimm = Device("board/memory:0x100000000", "pc-dimm", "dimm1", {"memdev": "/objects/m1"})
    rom = Block("0000:00:05.0/virtio-net-pci.rom", 5, 5)
    there = having(dimm, blocks=(*HERE.blocks, rom, Block("m1", 5, 5)))
    assert [name for _, name, _ in told(there, without(NIC, NIC_ITSELF))] == ["dimm1", "n0"]
    assert [name for _, name, _ in told(there, having(dimm))] == [rom.name, "m1"]  # without the blocks alone


def test_a_table_for_the_firmware_may_become_larger() -> None:
    there = evolve(HERE, blocks=(Block("/rom@etc/acpi/tables", 1 << 17, 1 << 21),))
    assert told(there, evolve(HERE, blocks=(Block("/rom@etc/acpi/tables", 1 << 16, 1 << 21),))) == []
    assert len(told(there, evolve(HERE, blocks=(Block("/rom@etc/acpi/tables", 1 << 16, 1 << 16),)))) == 1


def test_what_is_allowed_is_a_warning() -> None:
    findings = [Finding(Level.FAILURE, "cpu", "less", "more", "not-migratable", "cpu"), Finding(Level.FAILURE, "ram", "r", name="m1")]
    assert allow(findings, ()) == findings
    assert allow(findings, ("cpu", "x")) == [
        Finding(Level.WARNING, "cpu", "less (allowed)", name="cpu"),
        findings[1],
        Finding(Level.WARNING, "allowed", "--allow-mismatch x has no effect: no failure has that name"),
    ]


def test_what_has_no_name_cannot_be_allowed() -> None:
    """Another machine, another size of RAM: QEMU itself refuses those."""
    findings = compare(evolve(HERE, machine=Machine("pc-i440fx-7.2-machine", 5)), HERE)
    assert [(one.level, one.name) for one in findings] == [(Level.FAILURE, "")] * 2
    assert [one.level for one in allow(findings, ("machine", "ram"))] == [Level.FAILURE] * 2 + [Level.WARNING] * 2


def test_a_name_allows_all_that_has_it_and_no_warning() -> None:
    findings = compare(HERE, replaced(NIC, vectors=3))
    mac = compare(HERE, replaced(NIC_ITSELF, mac="52:54:00:00:00:02"))
    assert [one.level for one in allow(findings * 2 + mac, ("n0", "n0"))] == [Level.WARNING] * 3
    assert allow(mac, ("n0",)) == [*mac, Finding(Level.WARNING, "allowed", "--allow-mismatch n0 has no effect: no failure has that name")]
