"""What stands in the way of a migration, at either end: a check tells it, and a migration ends with the same before anything is done."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.crossing import Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.qemu import Build, Qemu
from lab.qmp import QmpError
from nbdtun.migration.rollback.journal import End
from nbdtun.migration.vm.capabilities import HARMLESS, REFUSED
from tests.integration.checked import findings
from tests.integration.outcome import arrived
from tests.integration.same import both

SMALL = Plan(16 * MIB)
QCOW2 = Plan(16 * MIB, "qcow2", filled=1.0)
Maker = Callable[..., Pair]

#: Capabilities that need another, or what this machine does not have; QEMU refuses to set them alone.
NEEDS = {"postcopy-preempt": ["postcopy-ram"], "zero-copy-send": ["multifd"], "switchover-ack": ["return-path"]}


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["7.2", "10.0"])
def builds(request: pytest.FixtureRequest) -> tuple[Build | None, Build | None]:
    return (request.getfixturevalue("recent_qemu"),) * 2 if request.param else (None, None)


def refused(crossing: Crossing, *told: str) -> None:
    """Both say so in the same words, and nothing was done."""
    assert findings(crossing) == list(told)
    attempt = crossing.migrate()
    assert attempt.wait_exit(30) == 1
    assert attempt.complaints()[-1] == f"nbdtun: {told[0]}"
    assert attempt.phases() == ["prepare", "rollback", "failed"]
    assert crossing.pair.destination.status() == "inmigrate"
    assert crossing.pair.destination.leftovers() == []


def switch(vm: Qemu, state: bool, *names: str) -> None:
    vm.qmp("migrate-set-capabilities", capabilities=[{"capability": name, "state": state} for name in names])


def known(vm: Qemu) -> set[str]:
    return {entry["capability"] for entry in vm.qmp("query-migrate-capabilities")}


@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_capability_that_somebody_has_left_on(pairs: Maker, crossings: Callable[..., Crossing], builds: Any, end: str) -> None:
    crossing = crossings(pairs(SMALL, builds=builds))
    vm: Qemu = getattr(crossing.pair, end)
    switch(vm, True, "multifd")
    refused(
        crossing,
        f"QEMU at the {end} has the migration capability multifd on: one end would wait for ever for connections of the other; "
        "--connections sets it at both; turn it off with migrate-set-capabilities, or restart that QEMU",
    )
    switch(vm, False, "multifd")
    assert findings(crossing) == []
    assert crossing.migrate().wait_exit(60) == 0
    arrived(crossing)


@pytest.mark.parametrize("end", list(End))
def test_each_that_is_refused_is_named(pairs: Maker, crossings: Callable[..., Crossing], builds: Any, end: End) -> None:
    crossing = crossings(pairs(SMALL, builds=builds, paused=True))
    vm: Qemu = getattr(crossing.pair, end.value)
    tried = []
    for name in sorted(known(vm) & {name for name, (ends, _) in REFUSED.items() if end in ends}):
        needed = NEEDS.get(name, [])
        try:
            switch(vm, True, *needed, name)
        except QmpError:
            continue  # what it needs is not here
        assert any(f"QEMU at the {end.value} has the migration capability {name} on" in line for line in findings(crossing)), name
        switch(vm, False, name, *needed)
        tried.append(name)
    assert {"multifd", "x-ignore-shared"} <= set(tried)


def test_every_capability_of_these_qemus_is_judged(pairs: Maker, builds: Any) -> None:
    assert known(pairs(SMALL, builds=builds, paused=True).source) <= HARMLESS.keys() | REFUSED.keys()


def test_the_harmless_ones_are(pairs: Maker, crossings: Callable[..., Crossing], builds: Any) -> None:
    """The memory arrives whole, whatever of them is on at which end."""
    crossing = crossings(pairs(SMALL, builds=builds))
    pair = crossing.pair
    for end, vm in ((End.SOURCE, pair.source), (End.DESTINATION, pair.destination)):
        for name in sorted((known(vm) & HARMLESS.keys()) - {name for name, (ends, _) in REFUSED.items() if end in ends}):
            try:
                switch(vm, True, name)
            except QmpError:
                continue
    assert findings(crossing) == []
    attempt = crossing.migrate()
    assert attempt.wait_exit(60) == 0, attempt.log()
    pair.destination.wait_ticks(5)
    assert pair.faults() == []


@pytest.mark.parametrize("end", ["source", "destination"])
def test_one_that_comes_on_while_disks_are_copied(pairs: Maker, crossings: Callable[..., Crossing], end: str) -> None:
    """It is seen before the destination's QEMU is used up."""
    crossing = crossings(pairs(SMALL))
    attempt = crossing.migrate("--bandwidth", "6MiB")
    attempt.wait_phase("mirror")
    switch(getattr(crossing.pair, end), True, "multifd")
    assert attempt.wait_exit(60) == 1
    assert f"QEMU at the {end} has the migration capability multifd on" in attempt.complaints()[-1]
    assert crossing.pair.disturbance() == []
    assert crossing.pair.destination.status() == "inmigrate"
    assert crossing.pair.destination.leftovers() == []


def test_a_parameter_that_somebody_has_set(pairs: Maker, crossings: Callable[..., Crossing], builds: Any) -> None:
    crossing = crossings(pairs(SMALL, builds=builds, paused=True))
    crossing.pair.destination.qmp("migrate-set-parameters", **{"tls-creds": "tls0"})
    refused(
        crossing,
        "QEMU at the destination has the migration parameter tls-creds set to tls0: QEMU would also encrypt the stream, which the "
        'other end does not expect; set it to "" with migrate-set-parameters, or restart that QEMU',
    )


def work(vm: Qemu, kind: str) -> None:
    """A job that lasts."""
    if kind == "stream":
        vm.qmp("block-stream", **{"job-id": "nightly", "device": "over", "speed": 65536})
        return
    vm.qmp("blockdev-add", **{"driver": "null-co", "node-name": "tgt", "size": 16 * MIB})
    options = {"job-id": "nightly", "device": "vda", "target": "tgt", "sync": "full", "speed": 65536}
    vm.qmp(f"blockdev-{kind}", **options)


@pytest.mark.parametrize("kind", ["backup", "mirror", "stream"])
def test_a_job_on_a_disk(pairs: Maker, crossings: Callable[..., Crossing], builds: Any, kind: str) -> None:
    """At the source, that is: QEMU does not begin one on a disk of a machine that waits."""
    crossing = crossings(pairs(QCOW2, builds=builds, paused=True))
    vm = crossing.pair.source
    if kind == "stream":  # it has something to do where there is a backing file with contents
        overlay(vm)
    work(vm, kind)
    told = findings(crossing)
    name = {"mirror": "vda", "stream": "over", "backup": "vda-dev"}[kind]  # a backup's filter, which has no name, is what the guest sees
    assert told[0] == f"disk {name}: the job 'nightly' ({kind}) runs on it; wait for it, or end it with block-job-cancel"
    attempt = crossing.migrate()
    assert attempt.wait_exit(30) == 1
    assert attempt.complaints()[-1] == f"nbdtun: {told[0]}"


def overlay(vm: Qemu) -> None:
    """Put an empty image above the disk."""
    path = f"{vm.drives[0].disk.path}.over"
    vm.qmp("blockdev-snapshot-sync", **{"node-name": "vda", "snapshot-node-name": "over", "snapshot-file": path, "format": "qcow2"})


@pytest.mark.parametrize("end", ["source", "destination"])
def test_an_export_of_a_disk(pairs: Maker, crossings: Callable[..., Crossing], end: str) -> None:
    crossing = crossings(pairs(SMALL, paused=True))
    pair = crossing.pair
    vm: Qemu = getattr(pair, end)
    address = {"type": "unix", "data": {"path": f"{pair.directory}/pull.sock"}}
    vm.qmp("nbd-server-start", addr=address)
    vm.qmp("block-export-add", **{"type": "nbd", "id": "pull", "node-name": "vda"})
    where = " at the destination" if end == "destination" else ""
    told = f"disk vda{where}: the nbd export 'pull' serves it to another client; remove it with block-export-del"
    assert findings(crossing) == [told]
    attempt = crossing.migrate()
    assert attempt.wait_exit(30) == 1
    assert attempt.complaints()[-1] == f"nbdtun: {told}"


def test_what_an_image_has_besides_its_content(pairs: Maker, crossings: Callable[..., Crossing], builds: Any) -> None:
    crossing = crossings(pairs(QCOW2, builds=builds))
    vm = crossing.pair.source
    vm.wait_ticks(1)  # firmware leaves the write cache off, and is warned of
    vm.qmp("block-dirty-bitmap-add", node="vda", name="backup0", persistent=True)
    vm.qmp("block-dirty-bitmap-add", node="vda", name="backup1", persistent=True, disabled=True)
    vm.qmp("block-dirty-bitmap-add", node="vda", name="passing")
    assert findings(crossing) == findings(crossing, level="warning") == []  # they travel: see test_bitmaps
    assert findings(crossing, "--leave-behind", "bitmaps") == []
    assert findings(crossing, "--leave-behind", "bitmaps", level="warning") == [
        "disk vda: its persistent bitmaps stay behind (--leave-behind): backup0, backup1",
        "disk vda: bitmaps outside its image will be lost: passing; backups that rely on them must start again with a full one",
    ]
    attempt = crossing.migrate("--leave-behind", "snapshots,bitmaps")
    assert attempt.wait_exit(60) == 0
    assert any("its persistent bitmaps stay behind (--leave-behind)" in line for line in attempt.complaints())
    arrived(crossing)


def test_snapshots_also_in_a_backing_file(pairs: Maker, crossings: Callable[..., Crossing], builds: Any) -> None:
    pair = pairs(QCOW2, builds=builds, paused=True)
    crossing = crossings(pair)
    vm = pair.source
    disk = vm.drives[0].disk.path
    vm.quit()
    subprocess.run(["qemu-img", "snapshot", "-c", "before", disk], check=True)
    pair.renew_source()
    told = "disk vda: its internal snapshots would stay behind: before; delete them, or migrate without them: --leave-behind snapshots"
    assert findings(crossing) == [told]
    overlay(pair.source)
    assert findings(crossing) == [told.replace("disk vda", "disk over")]
    assert findings(crossing, "--leave-behind", "snapshots") == []


def test_the_same_image_at_both_ends(pairs: Maker, crossings: Callable[..., Crossing], builds: Any) -> None:
    """A QEMU that waits takes no lock of it; it would be written onto itself."""
    crossing = crossings(pairs(SMALL, builds=builds, paused=True))
    pair = crossing.pair
    before = pair.source.drives[0].disk.path.read_bytes()
    pair.destination.kill()
    other = pair.directory / "other.raw"
    other.symlink_to(pair.source.drives[0].disk.path)
    drive = replace(pair.source.drives[0], disk=replace(pair.source.drives[0].disk, path=other))
    with Qemu("dst", pair.directory, pair.guest, [drive], incoming=True, build=builds[1]) as pair.destination:
        refused(
            crossing,
            "disk vda: the destination's vda is the same image, so the disk would be copied onto itself; "
            "give the destination an image of its own; shared storage is not supported",
        )
    assert pair.source.drives[0].disk.path.read_bytes() == before


def test_of_a_controller_with_an_iothread(pairs: Maker, crossings: Callable[..., Crossing], builds: Any, directory: Path) -> None:
    """QEMU 7.2 ends by an assertion when the copy of its disk has arrived; both say so before that. A later one takes it."""
    for name in ("src", "dst"):
        (directory / f"{name}-odd.raw").write_bytes(bytes(MIB))
    disk = ["-blockdev", f"driver=raw,node-name=odd,file.driver=file,file.filename={directory}/NAME-odd.raw"]
    scsi = ["-object", "iothread,id=t0", "-device", "virtio-scsi-pci,id=s0,iothread=t0,addr=0x15"]
    extra = [*scsi, *disk, "-device", "scsi-hd,id=odd0,drive=odd,bus=s0.0"]
    crossing = crossings(pairs(SMALL, paused=True, extra=extra, builds=builds))
    if crossing.pair.destination.qmp("query-version")["qemu"]["major"] == 7:
        (line,) = both(crossing)
        assert line.startswith("disk odd: QEMU 7.2.")
        assert line.endswith("there, or start it without iothread= for that controller")
        assert crossing.migrate("--disk", "vda").wait_exit(60) == 0  # that disk is not copied
    else:
        assert crossing.migrate().wait_exit(60) == 0


def test_a_virtio_disk_with_an_iothread_moves(pairs: Maker, crossings: Callable[..., Crossing]) -> None:
    """Its thread has it only when the guest runs at the destination: the last client has left by then."""
    crossing = crossings(pairs(SMALL, extra=["-object", "iothread,id=t0", "-global", "virtio-blk-pci.iothread=t0"]))
    for vm in (crossing.pair.source, crossing.pair.destination):
        assert vm.qmp("qom-get", path="/machine/peripheral/vda-dev", property="iothread") == "/objects/t0"
    assert crossing.migrate().wait_exit(60) == 0
    arrived(crossing)
