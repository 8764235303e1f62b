"""
Migrations of real QEMUs by the migration's own objects, without the tunnel: what goes wrong here is not the tunnel's fault.

Every test ends with the same questions: how many copies run, is every tick on the disk of the one that does, and is anything of ours left.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.qemu import Qemu
from nbdtun.errors import (
    ConfigError,
    DestinationFailed,
    DiskMismatch,
    LinkLost,
    MonitorError,
    MonitorLost,
    NbdtunError,
    NotMigratable,
    OutcomeUnknown,
    VMUnknown,
)
from nbdtun.migration.commands import Finish
from nbdtun.migration.destination import Destination, DestinationControl
from nbdtun.migration.monitor import Monitor
from nbdtun.migration.progress import Phase, Progress
from nbdtun.migration.settings import Limits, MigrationSettings
from nbdtun.migration.source import Migration
from tests.migration.direct import Tunnel

BUILDS = {"native": "native_qemu", "recent": "recent_qemu"}
SLOW = 16 * MIB  # bytes a second: a mirror lasts for long enough to be met on its way
BRISK = 48 * MIB  # the same, for those that go on to the end


class Rig:
    """A pair of QEMUs, a tunnel and a destination; ``reports`` is what the last migration told."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.source, self.destination = pair.source, pair.destination
        self.tunnel = Tunnel(reactor, pair.directory)
        self.limits = Limits(settle=3, undo=10)
        self.restart_daemon()
        self.reports: list[Progress] = []
        self.ended = ExitStack()

    def restart_daemon(self) -> None:
        vms = {"web1": str(self.pair.directory / "dst.qmp")}
        self.daemon = Destination(reactor, vms, self.tunnel.quay, self.limits)
        self.tunnel.serve = self.daemon.control

    def start(self, **options: Any) -> Deferred[Progress]:
        self.reports.clear()
        self.entered: set[Phase] = set()
        self.phases: dict[Phase, Deferred[None]] = {phase: Deferred() for phase in Phase}
        options = {"vm": "web1", "limits": self.limits} | options
        return Deferred.fromCoroutine(self._run(MigrationSettings(**options)))

    async def _run(self, settings: MigrationSettings) -> Progress:
        monitor = Monitor(reactor, str(self.source.qmp_path), settings.vm)
        await monitor.connect()
        self.migration = Migration(reactor, monitor, self.tunnel, settings, self._report)
        try:
            return await self.migration.run()
        finally:
            await monitor.close()

    def _report(self, progress: Progress) -> None:
        self.reports.append(progress)
        if progress.phase not in self.entered:  # and not whether it was called: a second report may come before the reactor's next turn
            self.entered.add(progress.phase)
            reactor.callLater(0, self.phases[progress.phase].callback, None)  # type: ignore[attr-defined]

    async def renew(self) -> None:
        """A destination QEMU that has tried to receive its memory is of no more use."""
        await deferToThread(self.destination.wait_exit, 20)
        old = self.destination
        fresh = Qemu("dst", self.pair.directory, self.pair.guest, old.drives, build=old.build, incoming=True)
        self.destination = self.pair.destination = self.ended.enter_context(fresh)

    async def moved(self) -> None:
        """It runs at the destination, whole, and nothing of ours is left."""
        await deferToThread(self.destination.wait_ticks, 3)
        await self.cleared()
        assert not self.pair.both_running()
        assert self.pair.faults() == []
        assert not self.tunnel.entrances
        assert not self.tunnel.admitted
        assert self.reports[-1].phase is Phase.COMPLETED

    async def cleared(self) -> None:
        """What there was is over, and nothing of ours is left at the destination."""
        for session in self.daemon._sessions.values():
            await session.over.addTimeout(15, reactor)  # type: ignore[arg-type]
            await session.settled
        assert await deferToThread(self.destination.leftovers) == []

    async def untouched(self, phase: Phase = Phase.FAILED) -> None:
        """It runs on at the source, and nothing of ours is left there."""
        assert await deferToThread(self.pair.disturbance) == []
        assert not self.tunnel.entrances
        assert self.reports[-1].phase is phase


@pytest.fixture
def rig(pairs: Callable[..., Pair]) -> Iterator[Callable[..., Any]]:
    rigs: list[Rig] = []

    @asynccontextmanager
    async def make(*plans: Plan, **options: Any) -> AsyncIterator[Rig]:
        one = Rig(pairs(*plans, **options))
        rigs.append(one)
        if not options.get("paused"):
            one.source.wait_ticks(5)
        await one.tunnel.start()
        try:
            yield one
        finally:
            await one.daemon.stop()
            await one.tunnel.stop()
            one.tunnel.cut_control()
            await pause(0.05)

    yield make
    for one in rigs:
        one.ended.close()


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("here", "there", "style"),
    [
        ("native", "native", "drive"),
        ("native", "recent", "blockdev"),
        ("recent", "native", "blockdev"),
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
        assert not one.source.running()
        assert one.destination.drives[0].disk.allocated() < 80 * MIB
        seen = [progress.phase for progress in one.reports]
        order = [Phase.PREPARE, Phase.MIRROR, Phase.READY, Phase.RAM, Phase.SWITCHOVER, Phase.FINISH, Phase.COMPLETED]
        assert sorted(set(seen), key=seen.index) == order
        assert [disk.node for disk in last.disks] == ["vda", "vdb"]
        assert all(disk.done == disk.total > 0 for disk in last.disks)
        assert last.ram.done == last.ram.total > 0


@pytest.mark.parametrize("interface", ["ide", "scsi"])
@pytest.mark.parametrize("style", ["drive", "blockdev"])
@pytest_twisted.ensureDeferred
async def test_every_kind_of_disk_moves(recent_qemu: Any, rig: Any, interface: Any, style: Any) -> None:
    plan = Plan(64 * MIB, interface=interface, style=style)
    async with rig(plan, Plan(32 * MIB, interface=interface, style=style), builds=(None, recent_qemu)) as one:
        await one.start()
        await one.moved()


@pytest.mark.parametrize("style", ["drive", "blockdev"])
@pytest_twisted.ensureDeferred
async def test_a_larger_target_is_served_with_a_slice(rig: Any, style: Any) -> None:
    larger = Plan(64 * MIB, target_size=96 * MIB, style=style)
    async with rig(larger, Plan(48 * MIB, target_size=50 * MIB, target_fmt="qcow2", style=style)) as one:
        await one.start()
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_a_smaller_target_is_refused_before_anything_starts(rig: Any) -> None:
    async with rig(Plan(64 * MIB), Plan(64 * MIB, target_size=32 * MIB)) as one:
        with pytest.raises(DiskMismatch, match=f"disk vdb: {32 * MIB} bytes at the destination are too few for {64 * MIB} bytes"):
            await one.start()
        await one.untouched()
        assert {progress.phase for progress in one.reports} == {Phase.PREPARE, Phase.FAILED}
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
        running = one.start(bandwidth=SLOW)
        await one.phases[phase]
        running.cancel()
        with pytest.raises(CancelledError):
            await running
        await one.untouched(Phase.CANCELLED)
        await one.cleared()
        await one.start()
        await one.moved()


@pytest.mark.parametrize("phase", [Phase.RAM, Phase.SWITCHOVER])
@pytest.mark.parametrize("build", ["native", "recent"])
@pytest_twisted.ensureDeferred
async def test_cancelled_later_it_needs_a_fresh_destination(request: pytest.FixtureRequest, rig: Any, phase: Phase, build: str) -> None:
    async with rig(Plan(64 * MIB), builds=(request.getfixturevalue(BUILDS[build]),) * 2) as one:
        running = one.start(bandwidth=BRISK)
        await one.phases[phase]
        running.cancel()
        with pytest.raises(CancelledError):
            await running
        await one.untouched(Phase.CANCELLED)
        await one.renew()
        await one.start()
        await one.moved()


@pytest.mark.parametrize("how", ["cancelled", "late"])
@pytest_twisted.ensureDeferred
async def test_given_up_while_qemu_waits_for_a_connection(rig: Any, how: str) -> None:
    async with rig(Plan(64 * MIB)) as one:
        one.tunnel.stalls = True
        running = one.start(limits=Limits(connect=60 if how == "cancelled" else 1, undo=5))
        await one.phases[Phase.MIRROR]
        await pause(0.3)
        if how == "cancelled":
            running.cancel()
        with pytest.raises(CancelledError if how == "cancelled" else MonitorError):
            await running
        await one.untouched(Phase.CANCELLED if how == "cancelled" else Phase.FAILED)
        assert one.reports[-1].elapsed < 4
        await one.cleared()
        one.tunnel.stalls = False
        await one.start()
        await one.moved()


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
        with pytest.raises(VMUnknown, match=r"knows no VM 'web2'; it was started without --vm web2=QMP-SOCKET"):
            await one.start(vm="web2")
        await one.untouched()


@pytest_twisted.ensureDeferred
async def test_a_destination_that_runs(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        one.destination.quit()
        drives, guest = one.destination.drives, one.pair.guest
        one.destination = one.pair.destination = one.ended.enter_context(Qemu("dst", one.pair.directory, guest, drives, paused=True))
        with pytest.raises(NotMigratable, match="not waiting for a migration but prelaunch; start it with -S -incoming defer"):
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


@pytest.mark.parametrize("phase", [Phase.MIRROR, Phase.RAM])
@pytest_twisted.ensureDeferred
async def test_the_destination_qemu_dies(rig: Any, phase: Phase) -> None:
    async with rig(Plan(64 * MIB)) as one:
        running = one.start(bandwidth=SLOW)
        await one.phases[phase]
        one.destination.kill()
        with pytest.raises(NbdtunError, match=r"at the destination: .*QEMU (closed its monitor|has ended)"):  # it may connect just then
            await running
        await one.untouched()
        await one.renew()
        await one.start()
        await one.moved()


@pytest.mark.parametrize("phase", [Phase.MIRROR, Phase.RAM])
@pytest_twisted.ensureDeferred
async def test_the_source_qemu_dies(rig: Any, phase: Phase) -> None:
    async with rig(Plan(64 * MIB)) as one:
        running = one.start(bandwidth=SLOW)
        await one.phases[phase]
        one.source.kill()
        with pytest.raises(MonitorLost, match="web1: QEMU closed its monitor"):
            await running
        assert one.reports[-1].phase is Phase.FAILED
        if phase is Phase.MIRROR:
            await one.cleared()


@pytest.mark.parametrize("phase", [Phase.MIRROR, Phase.RAM])
@pytest_twisted.ensureDeferred
async def test_the_control_channel_is_lost(rig: Any, phase: Phase) -> None:
    async with rig(Plan(64 * MIB)) as one:
        running = one.start(bandwidth=SLOW)
        await one.phases[phase]
        one.tunnel.cut_control()
        with pytest.raises(LinkLost, match="control channel"):
            await running
        await one.untouched()
        if phase is Phase.RAM:
            await one.renew()
        else:
            await pause(0.5)
            await one.cleared()
        await one.start()
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_it_is_cancelled_while_a_client_is_in_its_handshake_at_the_destination(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        running = one.start(bandwidth=SLOW)
        await one.phases[Phase.MIRROR]
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(next(one.pair.directory.glob("*/nbd.sock"))))
            running.cancel()
            await pause(0.5)
            assert await deferToThread(one.destination.status) == "inmigrate"
        with pytest.raises(CancelledError):
            await running
        await one.untouched(Phase.CANCELLED)
        await one.cleared()
        await one.start()
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_a_disk_connection_breaks_and_qemu_makes_it_again(rig: Any) -> None:
    async with rig(Plan(96 * MIB, filled=1.0)) as one:
        running = one.start(bandwidth=BRISK)
        await one.phases[Phase.MIRROR]
        await pause(0.5)
        for entrance in one.tunnel.entrances.values():
            entrance.cut()
        await running
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_the_memory_connection_breaks(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        running = one.start(bandwidth=SLOW)
        await one.phases[Phase.RAM]
        await pause(0.5)
        next(entrance for target, entrance in one.tunnel.entrances.items() if target.startswith("ram.")).cut()
        with pytest.raises(NbdtunError, match=r"copying the memory|QEMU closed its monitor"):
            await running
        await one.untouched()


class Forgetful(DestinationControl):
    """Loses the channel when Finish comes: before it is carried out, or after."""

    carry_out = True

    def locateResponder(self, name: bytes) -> Any:
        found = super().locateResponder(name)
        if name != Finish.commandName:
            return found

        def lose(box: Any) -> Any:
            work = found(box) if self.carry_out else Deferred()
            self.transport.abortConnection()
            return work

        return lose


class Deaf(Forgetful):
    carry_out = False


@pytest_twisted.ensureDeferred
async def test_the_answer_to_finish_is_lost_and_asked_for_again(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        one.tunnel.serve = lambda: Forgetful(one.daemon)
        await one.start()
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_finish_is_lost_and_the_guest_runs_on_at_the_source(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        one.tunnel.serve = lambda: Deaf(one.daemon)
        with pytest.raises(DestinationFailed, match="the destination did not take over"):
            await one.start()
        await one.untouched()
        await one.renew()
        one.tunnel.serve = one.daemon.control
        await one.start()
        await one.moved()


@pytest.mark.parametrize("control", [Forgetful, Deaf])
@pytest_twisted.ensureDeferred
async def test_nobody_can_tell_and_the_source_stays_paused(rig: Any, control: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        first = one.daemon
        one.tunnel.serve = lambda: control(first)
        running = one.start()
        await one.phases[Phase.FINISH]
        one.restart_daemon()
        with pytest.raises(OutcomeUnknown, match="The source is left paused"):
            await running
        assert one.reports[-1].phase is Phase.UNKNOWN
        assert one.reports[-1].code == "unknown"
        assert one.source.status() == "postmigrate"
        assert not one.pair.both_running()
        await first.stop()


@pytest_twisted.ensureDeferred
async def test_a_second_migration_leaves_the_first_alone(rig: Any) -> None:
    async with rig(Plan(96 * MIB, filled=1.0)) as one:
        running = one.start(bandwidth=BRISK)
        await one.phases[Phase.MIRROR]
        second = Migration(reactor, one.migration._monitor, one.tunnel, MigrationSettings(vm="web1"), lambda _: None)
        with pytest.raises(NotMigratable, match="is being migrated by another nbdtun just now"):
            await second.run()
        await running
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_a_stopped_source_qemu_is_noticed(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        running = one.start(bandwidth=SLOW, limits=Limits(command=1))
        await one.phases[Phase.MIRROR]
        await pause(0.5)
        one.source.signal(signal.SIGSTOP)
        reactor.callLater(3, one.source.signal, signal.SIGCONT)  # type: ignore[attr-defined]
        with pytest.raises(MonitorError, match=r"QEMU has not answered .* for 1 s"):
            await running
        await one.untouched()
        await deferToThread(one.source.wait_ticks, 2)
