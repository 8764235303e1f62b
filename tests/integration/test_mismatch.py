"""Machines that differ: what both `check` and `migrate` say of it before anything is begun, at real QEMUs of both releases."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.disks import MIB
from lab.guest import Guest
from tests.integration.two import Two, disk

RNG = ["-device", "virtio-rng-pci,id=rng,addr=0x10"]
DIMM = ["-object", "memory-backend-ram,id=m1,size=128M", "-device", "pc-dimm,id=dimm1,memdev=m1"]
ROOM = ["-m", "size=131080k,slots=4,maxmem=1G"]
ELSEWHERE = ["-object", "memory-backend-ram,id=mem0,size=131080k", "-machine", "memory-backend=mem0"]
NAMED_RAM = "the RAM block pc.ram of the source is missing at the destination"


@pytest.fixture(params=["native_qemu", pytest.param("recent_qemu", marks=pytest.mark.slow)])
def two(request: pytest.FixtureRequest, directory: Path, guest: Guest) -> Iterator[Two]:
    build = request.getfixturevalue(request.param)
    with ExitStack() as ended:
        yield Two(directory, guest, ended, (build, build))


@pytest.fixture(params=[("native_qemu", "recent_qemu"), ("recent_qemu", "native_qemu")], ids=["newer", "older"])
def across(request: pytest.FixtureRequest, directory: Path, guest: Guest) -> Iterator[Two]:
    here, there = (request.getfixturevalue(name) for name in request.param)
    with ExitStack() as ended:
        yield Two(directory, guest, ended, (here, there))


PORT = "pcie-root-port,id=port1,chassis=1,addr=0x11"
GENERATION = "vmgenid,id=gen1,guid=11111111-1111-1111-1111-11111111111"
UUID = "11111111-1111-1111-1111-11111111111"


def test_what_qemu_would_refuse_or_the_guest_would_notice(two: Two) -> None:
    """Of a port's configuration space QEMU says so after all was copied; of the others never."""
    ports = ["-device", f"{PORT},port=1,hotplug=on,x-speed=16"], ["-device", f"{PORT},port=2,hotplug=off,x-speed=2_5"]
    sleep = ["-global", "ICH9-LPC.disable_s3=0"], ["-global", "ICH9-LPC.disable_s3=1"]
    here, there = (
        ["-uuid", f"{UUID}{end}", "-device", f"{GENERATION}{end}", *port, *deep] for end, port, deep in zip("12", ports, sleep, strict=True)
    )
    two.start(here, there)
    told = two.refused()
    for says in (
        f"the machine's uuid is {UUID}1 at the source and {UUID}2 at the destination; start the destination with the same -uuid {UUID}1",
        f"gen1 (vmgenid at vmgenid~0) has guid={UUID}1 at the source and {UUID}2 at the destination; use the same value there",
        "port1 (pcie-root-port at pci:11.0) has port=1 at the source and 2 at the destination; use the same value there",
        "has hotplug=on at the source and off at the destination; use the same value there",
        "has x-speed=16 at the source and 2_5 at the destination; use the same value there",
        "has disable_s3=0 at the source and 1 at the destination; use the same value there",
    ):
        assert any(says in line for line in told), (says, told)
    assert len(told) == 6


def test_machines_of_two_releases_are_alike(across: Two) -> None:
    """Each kind of bus, a bridge that no firmware has numbered, and more than one processor: nothing is found that differs."""
    machine = [
        *("-smp", "2", "-device", "pcie-root-port,id=rp1,chassis=1", "-device", "virtio-net-pci,id=n0,bus=rp1,mac=52:54:00:00:00:01"),
        *("-device", "virtio-scsi-pci,id=scsi0", "-device", "qemu-xhci", "-device", "usb-tablet", "-device", "virtio-balloon-pci"),
        *("-device", "virtio-serial-pci", "-chardev", "null,id=c1", "-device", "virtserialport,chardev=c1,name=org.x"),
    ]
    across.start(machine, machine)
    assert across.moved() == []


def test_a_feature_less(two: Two) -> None:
    two.start(cpus=("Haswell", "Nehalem"))
    lacks, *_ = told = two.refused()
    assert lacks.startswith("the destination's CPU lacks ")
    assert "avx" in lacks
    assert "(-cpu Haswell at the source, Nehalem there); start the destination with -cpu Haswell" in lacks
    assert all("CPU" in line for line in told)


def test_a_feature_less_that_is_allowed(two: Two) -> None:
    two.start(cpus=("Nehalem", "Nehalem,-popcnt"))
    assert two.refused() == ["the destination's CPU lacks popcnt; start the destination with -cpu Nehalem and the source's features"]
    assert two.refused("--allow-mismatch", "cpus") == [
        "the destination's CPU lacks popcnt; start the destination with -cpu Nehalem and the source's features"
    ]
    assert "--allow-mismatch cpus has no effect: no failure has that name" in [
        one["what"] for one in two.check("--allow-mismatch", "cpus")["findings"]
    ]
    assert two.moved("--allow-mismatch", "cpu") == ["the destination's CPU lacks popcnt (allowed)"]


def test_a_feature_more(two: Two) -> None:
    two.start(cpus=("Nehalem,-popcnt", "Nehalem"))
    assert two.moved() == ["the destination's CPU has popcnt, which the source's lacks"]


def test_max_is_another_processor_in_each_release(across: Two) -> None:
    """10.0's has more than 7.2's, and has lost one feature (pcommit)."""
    across.start(cpus=("max", "max"))
    here, there = across.source.build.version, across.destination.build.version
    if here == there:  # the system's own QEMU is the newer one
        assert across.moved() == []
        return
    lacks, *_ = across.refused()
    older = there < here
    assert ("pcommit" in lacks) == (not older)


@pytest.mark.parametrize(
    ("here", "there", "told"),
    [
        (RNG, [], ["rng (virtio-rng-pci at pci:10.0) is missing at the destination"]),
        (RNG, ["-device", "virtio-rng-pci,id=rng,addr=0x11"], ["rng (virtio-rng-pci at pci:10.0) is at pci:11.0 at the destination"]),
        (RNG, ["-device", "e1000,addr=0x10"], ["rng (virtio-rng-pci at pci:10.0) is e1000 at the destination"]),
        (
            ["-device", "pcie-root-port,id=rp,addr=5", "-device", "virtio-net-pci,id=n0,bus=rp"],
            ["-device", "pcie-root-port,id=rp,addr=5"],
            ["n0 (virtio-net-pci at pci:05.0/pci:00.0) is missing at the destination"],
        ),
        ([*ROOM, *DIMM], ROOM, ["dimm1 (pc-dimm at memory:0x100000000) is missing at the destination"]),
        ([], ELSEWHERE, [NAMED_RAM]),
        ([*RNG, *ROOM, *DIMM], [*ROOM, *ELSEWHERE], ["dimm1", "rng", NAMED_RAM]),
        (["-smp", "1"], ["-smp", "2"], ["there are 1 CPUs at the source and 2 at the destination (at the destination only: core 1)"]),
        (["-smp", "1,maxcpus=2"], ["-smp", "1"], ["there are 1 of 2 CPUs at the source and 1 at the destination"]),
        (ROOM, ["-m", "size=131080k,slots=2,maxmem=1G"], ["the machine's slots is 4 at the source and 2 at the destination"]),
        (
            ["-device", "virtio-net-pci,id=n0,addr=5,mq=on,vectors=4"],
            ["-device", "virtio-net-pci,id=n0,addr=5,vectors=3"],
            [
                "n0 (virtio-net at pci:05.0) lacks mq at the destination",
                "n0 (virtio-net-pci at pci:05.0) has vectors=4 at the source and 3",
            ],
        ),
        (
            ["-device", "virtio-net-pci,id=a,addr=5", "-device", "virtio-net-pci,id=b,addr=6"],
            ["-device", "virtio-net-pci,id=b,addr=5", "-device", "virtio-net-pci,id=a,addr=6"],
            ["a (virtio-net-pci at pci:05.0) is b at the destination", "b (virtio-net-pci at pci:06.0) is a at the destination"],
        ),
        (
            ["-device", "qemu-xhci,id=usb", "-device", "usb-kbd,port=1", "-device", "usb-tablet"],
            ["-device", "qemu-xhci,id=usb", "-device", "usb-tablet", "-device", "usb-kbd,port=2"],
            ["usb-kbd at pci:"],
        ),
    ],
)
def test_what_differs_is_refused(two: Two, here: list[str], there: list[str], told: list[str]) -> None:
    two.start(here, there)
    lines = two.refused()
    assert len(lines) == len(told), lines
    for line, beginning in zip(lines, told, strict=True):
        assert line.startswith(beginning)


def test_a_dimm_that_was_plugged_in(two: Two) -> None:
    two.start(ROOM, ROOM)
    two.source.qmp("object-add", **{"qom-type": "memory-backend-ram", "id": "m1", "size": 128 * MIB})
    two.source.qmp("device_add", driver="pc-dimm", id="dimm1", memdev="m1")
    (line,) = two.refused()
    assert line.startswith("dimm1 (pc-dimm at memory:0x100000000) is missing at the destination; ")
    two.destination.kill()
    with ExitStack():
        two.start([*ROOM, *DIMM], [*ROOM, *DIMM])
        assert two.moved() == []


def test_what_only_the_destination_has(two: Two) -> None:
    two.start([], RNG)
    assert two.moved() == ["rng (virtio-rng-pci at pci:10.0) exists only at the destination"]


def test_another_mac_is_told(two: Two) -> None:
    nic = "virtio-net-pci,id=n0,mac=52:54:00:00:00:0"
    two.start(["-device", f"{nic}1"], ["-device", f"{nic}2"])
    (line,) = two.moved()
    assert line == "n0 (virtio-net at pci:01.0) has mac=52:54:00:00:00:01 at the source and 52:54:00:00:00:02 at the destination"


def test_files_of_the_host_are_not_copied(two: Two) -> None:
    shared = ["-fsdev", "local,id=f0,path=/tmp,security_model=none", "-device", "virtio-9p-pci,id=share,fsdev=f0,mount_tag=t"]
    two.start(shared, shared)
    (line,) = two.refused()
    assert line.startswith(
        "share (virtio-9p-pci at pci:01.0) gives the guest access to files of the host, which are not copied; unplug it first"
    )
    assert two.moved("--allow-mismatch", "share") == [
        "share (virtio-9p-pci at pci:01.0) gives the guest access to files of the host, which are not copied (allowed)"
    ]


@pytest.mark.parametrize("more", [(), ("--disk", "a")])
def test_nameless_disks_are_paired_by_address(two: Two, more: tuple[str, ...]) -> None:
    at = two.directory
    here = [*disk(at, "src-a", "A", "virtio-blk-pci", "addr=5"), *disk(at, "src-b", "B", "virtio-blk-pci", "addr=6")]
    there = [*disk(at, "dst-b", ".", "virtio-blk-pci", "addr=6"), *disk(at, "dst-a", ".", "virtio-blk-pci", "addr=5")]
    two.start(here, there)
    assert two.moved(*more) == []
    two.destination.quit()
    assert (at / "dst-a.raw").read_bytes() == b"A" * MIB
    assert (at / "dst-b.raw").read_bytes() == (b"." if more else b"B") * MIB


def test_nameless_disks_behind_scsi_and_ide(across: Two) -> None:
    at = across.directory
    scsi = ["-device", "virtio-scsi-pci,addr=5"]
    first, second = ("scsi-hd", "scsi-id=1"), ("scsi-hd", "scsi-id=0", "lun=3")
    here = [*scsi, *disk(at, "src-a", "A", *first), *disk(at, "src-b", "B", *second), *disk(at, "src-c", "C", "ide-hd", "bus=ide.1")]
    there = [*scsi, *disk(at, "dst-c", ".", "ide-hd", "bus=ide.1"), *disk(at, "dst-b", ".", *second), *disk(at, "dst-a", ".", *first)]
    across.start(here, there)
    told = across.moved()
    assert all("serial" in line for line in told)
    across.destination.quit()
    for name in "abc":
        assert (at / f"dst-{name}.raw").read_bytes() == name.upper().encode() * MIB


def test_disks_that_could_be_paired_in_two_ways(two: Two) -> None:
    at = two.directory
    here = [*disk(at, "src-a", "A", "virtio-blk-pci", "addr=5", "id=one"), *disk(at, "src-b", "B", "virtio-blk-pci", "addr=6", "id=two")]
    there = [*disk(at, "dst-a", ".", "virtio-blk-pci", "addr=6", "id=one"), *disk(at, "dst-b", ".", "virtio-blk-pci", "addr=5", "id=two")]
    two.start(here, there)
    lines = two.refused()
    assert [line.partition(";")[0] for line in lines] == [
        "one (virtio-blk-pci at pci:05.0) is two at the destination",
        "two (virtio-blk-pci at pci:06.0) is one at the destination",
        "disk a: the match is ambiguous: by address it is b",
        "disk b: the match is ambiguous: by address it is a",
    ]
    lines = two.refused("--allow-mismatch", "one", "--allow-mismatch", "two")
    assert [line.partition(";")[0] for line in lines] == [
        "disk a: the match is ambiguous: by address it is b",
        "disk b: the match is ambiguous: by address it is a",
    ]


def test_what_a_disk_tells_of_itself(two: Two) -> None:
    """What identifies it, and where its sectors are, must be the same; a hint for the guest's speed need not."""
    at, scsi = two.directory, ["-device", "virtio-scsi-pci,addr=5"]
    here = [*scsi, *disk(at, "src-a", "A", "scsi-hd", "id=one"), *disk(at, "src-b", "B", "virtio-blk-pci", "id=two", "addr=6")]
    other = ["product=another", "vendor=other", "wwn=5", "rotation_rate=1"]
    there = [*scsi, *disk(at, "dst-a", ".", "scsi-hd", "id=one", *other)]
    there += disk(at, "dst-b", ".", "virtio-blk-pci", "id=two", "addr=6", "physical_block_size=4096")
    two.start(here, there)
    assert [line.partition(" has ")[2].partition(" at the source")[0] for line in two.refused()] == [
        "product=QEMU HARDDISK",
        "vendor=QEMU",
        "wwn=0",
        "physical_block_size=512",
    ]
    assert "one (scsi-hd at pci:05.0/scsi:0:0:0) has rotation_rate=0 at the source and 1 at the destination" in two.moved(
        "--allow-mismatch", "one", "--allow-mismatch", "two"
    )


def test_a_write_cache_that_is_off(two: Two) -> None:
    at = two.directory
    here = disk(at, "src-a", "A", "virtio-blk-pci", "id=one", "write-cache=off")
    two.start(here, disk(at, "dst-a", ".", "virtio-blk-pci", "id=one"))
    assert two.moved() == [
        "disk a: its write cache is off at the source and on at the destination, so its guest may lose writes if that host fails; "
        "use write-cache=off for the device there"
    ]


def test_an_image_that_ends_within_a_sector(two: Two) -> None:
    """By blkdebug; a file beside the cache on a filesystem with such sectors was tried by hand."""
    size = MIB + 512
    for name in ("src", "dst"):
        (two.directory / f"{name}.raw").write_bytes(bytes(size))
    device = ["-device", "virtio-blk-pci,drive=vda,id=one"]
    image = f"{two.directory}/dst.raw"
    large = f"driver=raw,node-name=vda,file.driver=blkdebug,file.align=4096,file.image.driver=file,file.image.filename={image}"
    two.start(
        ["-blockdev", f"driver=raw,node-name=vda,file.driver=file,file.filename={two.directory}/src.raw", *device],
        ["-blockdev", large, *device],
    )
    assert two.refused() == [
        f"disk vda: the destination's image has {size} bytes, which is no multiple of its 4096-byte sectors; "
        "use a qcow2 image there, or a raw one without cache.direct or on 512-byte sectors"
    ]


def test_nameless_usb_disks(two: Two) -> None:
    """One is found by its turn, two are not told apart."""
    at, usb = two.directory, ["-device", "qemu-xhci,addr=5"]
    here = [*usb, *disk(at, "src-a", "A", "usb-storage"), *disk(at, "src-b", "B", "usb-storage")]
    two.start(here, [*usb, *disk(at, "dst-b", ".", "usb-storage"), *disk(at, "dst-a", ".", "usb-storage")])
    assert [line.partition(": by")[0] for line in two.refused()] == [
        "disk a: the match is ambiguous",
        "disk b: the match is ambiguous",
    ]
