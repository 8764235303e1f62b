"""
Migrations of real QEMUs by the migration's own objects, without the tunnel: what goes wrong here is not the tunnel's fault.

Every test ends with the same questions: how many copies run, is every tick on the disk of the one that does, and is anything of ours left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError
from twisted.internet.threads import deferToThread

from lab.disks import MIB
from lab.pair import Plan
from lab.qemu import Qemu
from nbdtun.errors import (
    ConfigError,
    DiskMismatch,
    MonitorError,
    NotMigratable,
    VMUnknown,
)
from nbdtun.migration.progress import Phase
from nbdtun.migration.settings import StepTimeouts
from tests.integration.rig import BRISK, pause

BUILDS = {"native": "native_qemu", "recent": "recent_qemu"}


@pytest.mark.parametrize(
    ("here", "there", "style"),
    [
        pytest.param("native", "native", "drive", marks=pytest.mark.slow),
        ("native", "recent", "blockdev"),
        pytest.param("recent", "native", "blockdev", marks=pytest.mark.slow),
        ("recent", "recent", "drive"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_two_disks_move(request: pytest.FixtureRequest, rig: Any, here: str, there: str, style: Any) -> None:
    builds = tuple(request.getfixturevalue(BUILDS[name]) for name in (here, there))
    async with rig(Plan(style=style), Plan(64 * MIB, "qcow2", style=style), builds=builds) as one:
        last = await one.start()
        assert last is one.reports[-1]
        assert last.downtime_ms is not None
        assert 0 < last.downtime_ms < 5000
        await one.moved()
        one.source.wait_exit()
        assert one.destination.drives[0].disk.allocated() < 80 * MIB
        seen = [progress.phase for progress in one.reports]
        order = [Phase.PREPARE, Phase.MIRROR, Phase.READY, Phase.RAM, Phase.SWITCHOVER, Phase.FINISH, Phase.SETTLE, Phase.COMPLETED]
        assert sorted(set(seen), key=seen.index) == order
        assert [disk.node for disk in last.disks] == ["vda", "vdb"]
        assert all(disk.done == disk.total > 0 for disk in last.disks)
        assert last.ram.done == last.ram.total > 0


@pytest.mark.parametrize("interface", ["ide", "scsi"])
@pytest.mark.parametrize("style", [pytest.param("drive", marks=pytest.mark.slow), "blockdev"])
@pytest_twisted.ensureDeferred
async def test_every_kind_of_disk_moves(recent_qemu: Any, rig: Any, interface: Any, style: Any) -> None:
    plan = Plan(64 * MIB, interface=interface, style=style)
    async with rig(plan, Plan(32 * MIB, interface=interface, style=style), builds=(None, recent_qemu)) as one:
        await one.start()
        await one.moved()


@pytest.mark.parametrize("style", ["drive", pytest.param("blockdev", marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_a_larger_target_is_served_with_a_slice(rig: Any, style: Any) -> None:
    larger = Plan(64 * MIB, target_size=96 * MIB, style=style)
    async with rig(larger, Plan(48 * MIB, target_size=50 * MIB, target_fmt="qcow2", style=style)) as one:
        await one.start()
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_a_smaller_target_is_refused_before_anything_starts(rig: Any) -> None:
    async with rig(Plan(64 * MIB), Plan(64 * MIB, target_size=32 * MIB)) as one:
        with pytest.raises(DiskMismatch, match="disk vdb: 32 MiB at the destination is too small for 64 MiB"):
            await one.start()
        await one.untouched()
        assert {progress.phase for progress in one.reports} == {Phase.PREPARE, Phase.ROLLBACK, Phase.FAILED}
        await one.cleared()
        assert one.destination.status() == "inmigrate"


@pytest_twisted.ensureDeferred
async def test_drives_that_are_read_only_or_empty_or_pflash_are_left_out(rig: Any, directory: Path) -> None:
    flash = directory / "flash"
    flash.write_bytes(bytes(4 * MIB))
    options = ["-device", "ide-cd,id=cd0", "-drive", f"if=pflash,format=raw,file={flash},file.locking=off"]
    async with rig(Plan(64 * MIB), Plan(32 * MIB, read_only=True), extra=options, paused=True) as one:
        await one.start()  # without firmware nothing boots
        assert one.destination.status() == "prelaunch"
        assert [disk.node for disk in one.reports[-1].disks] == ["vda"]


@pytest_twisted.ensureDeferred
async def test_only_the_disks_that_were_named_move(rig: Any) -> None:
    async with rig(Plan(64 * MIB), Plan(64 * MIB)) as one:
        with pytest.raises(ConfigError, match="web1 has no disk vdz; it has vda, vdb"):
            await one.start(disks=("vdz",))
        await one.untouched()
        one.source.qmp("stop")  # a guest that runs writes to the other disk as soon as it has arrived
        await one.start(disks=("vdb-dev", "vdb"))
        assert [disk.node for disk in one.reports[-1].disks] == ["vdb"]
        assert one.destination.drives[1].disk.allocated() > 0
        assert one.destination.drives[0].disk.allocated() == 0


@pytest.mark.parametrize("build", ["native", "recent"])
@pytest_twisted.ensureDeferred
async def test_a_paused_machine_is_paused_afterwards(request: pytest.FixtureRequest, rig: Any, build: str) -> None:
    async with rig(Plan(64 * MIB), builds=(request.getfixturevalue(BUILDS[build]),) * 2) as one:
        one.source.qmp("stop")
        last = await one.start()
        assert last.downtime_ms is None
        assert one.destination.status() == "paused"
        assert one.pair.faults() == []
        one.destination.qmp("cont")
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_a_machine_paused_meanwhile_is_paused_afterwards(rig: Any) -> None:
    async with rig(Plan(96 * MIB, filled=1.0)) as one:
        running = one.start(bandwidth=BRISK)
        await one.phases[Phase.MIRROR]
        await deferToThread(one.source.qmp, "stop")  # QEMU connects just now, through this very reactor, and answers nobody else meanwhile
        await running
        assert one.destination.status() == "paused"


@pytest_twisted.ensureDeferred
async def test_the_source_is_kept_if_asked(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        await one.start(keep_source=True)
        await one.moved()
        assert one.source.status() == "postmigrate"
        assert one.source.leftovers() == []
        assert not any(entry["state"] for entry in one.source.qmp("query-migrate-capabilities") if entry["capability"] == "events")
        with pytest.raises(NotMigratable, match="it has moved already"):
            await one.start()


@pytest.mark.parametrize("phase", [Phase.PREPARE, Phase.MIRROR, Phase.READY])
@pytest_twisted.ensureDeferred
async def test_cancelled_before_the_memory_it_can_be_tried_again_at_once(rig: Any, phase: Phase) -> None:
    async with rig(Plan(64 * MIB)) as one:
        await one.breaks(phase, one.cancel, CancelledError)
        await one.untouched(Phase.CANCELLED)
        await one.cleared()
        await one.again()


@pytest.mark.parametrize("phase", [Phase.RAM, Phase.SWITCHOVER])
@pytest.mark.parametrize("build", ["native", pytest.param("recent", marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_cancelled_later_it_needs_a_fresh_destination(request: pytest.FixtureRequest, rig: Any, phase: Phase, build: str) -> None:
    async with rig(Plan(64 * MIB), builds=(request.getfixturevalue(BUILDS[build]),) * 2) as one:
        await one.breaks(phase, one.cancel, CancelledError, bandwidth=BRISK)
        await one.untouched(Phase.CANCELLED)
        await one.renew()
        await one.again()


@pytest.mark.parametrize("how", ["cancelled", "late"])
@pytest_twisted.ensureDeferred
async def test_given_up_while_qemu_waits_for_a_connection(rig: Any, how: str) -> None:
    async with rig(Plan(64 * MIB)) as one:
        one.tunnel.stalls = True
        running = one.start(steps=StepTimeouts(connect=60 if how == "cancelled" else 1, undo=5))
        await one.phases[Phase.MIRROR]
        began = one.reports[-1].elapsed
        await pause(0.3)
        if how == "cancelled":
            running.cancel()
        with pytest.raises(CancelledError if how == "cancelled" else MonitorError):
            await running
        await one.untouched(Phase.CANCELLED if how == "cancelled" else Phase.FAILED)
        assert one.reports[-1].elapsed - began < 4
        await one.cleared()
        one.tunnel.stalls = False
        await one.again()


@pytest_twisted.ensureDeferred
async def test_after_the_hand_over_it_cannot_be_cancelled(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        running = one.start()
        await one.phases[Phase.FINISH]
        assert not one.migration.cancel()
        running.cancel()
        await running
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_a_vm_that_the_destination_does_not_know(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        with pytest.raises(VMUnknown, match=r"has no VM 'web2'; it has web1; start `nbdtun dest` with --vm web2=QMP-SOCKET"):
            await one.start(vm="web2")
        await one.untouched()


@pytest_twisted.ensureDeferred
async def test_a_destination_that_runs(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        one.destination.quit()
        drives, guest = one.destination.drives, one.pair.guest
        one.destination = one.pair.destination = one.ended.enter_context(Qemu("dst", one.pair.directory, guest, drives, paused=True))
        with pytest.raises(NotMigratable, match="QEMU is prelaunch, not waiting for a migration; start it with -S -incoming defer"):
            await one.start()
        one.destination.quit()
        with pytest.raises(MonitorError, match=r"dst.qmp: (Connection refused|No such file)"):
            await one.start()
        await one.untouched()


@pytest_twisted.ensureDeferred
async def test_another_machine_type(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        one.destination.quit()
        drives, guest = one.destination.drives, one.pair.guest
        other = Qemu("dst", one.pair.directory, guest, drives, incoming=True, machine="pc-q35-7.1")
        one.destination = one.pair.destination = one.ended.enter_context(other)
        with pytest.raises(NotMigratable, match=r"pc-q35-7.2 at the source and pc-q35-7.1 at the destination"):
            await one.start()
        await one.untouched()
