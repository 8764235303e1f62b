"""
Migrations without the tunnel whose QEMUs, connections or answers are lost on the way.

They end with the same questions as those of ``test_migration_bare``.
"""

from __future__ import annotations

import signal
import socket
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from lab.disks import MIB
from lab.pair import Plan
from nbdtun.errors import (
    DestinationFailed,
    LinkLost,
    MonitorError,
    MonitorLost,
    NbdtunError,
    NotMigratable,
    OutcomeUnknown,
)
from nbdtun.migration.control.commands import Finish
from nbdtun.migration.destination.control import DestinationControl
from nbdtun.migration.progress import Phase
from nbdtun.migration.settings import MigrationSettings, StepTimeouts
from nbdtun.migration.source.migration import Migration
from tests.integration.rig import BRISK, SLOW, pause


@pytest.mark.parametrize("phase", [Phase.MIRROR, Phase.RAM])
@pytest_twisted.ensureDeferred
async def test_the_destination_qemu_dies(rig: Any, phase: Phase) -> None:
    async with rig(Plan(64 * MIB)) as one:
        reason = r"at the destination: .*QEMU (closed its monitor|has ended)"  # it may connect just then
        await one.breaks(phase, one.destination.kill, NbdtunError, reason)
        await one.untouched()
        await one.renew()
        await one.again()


@pytest.mark.parametrize("phase", [Phase.MIRROR, Phase.RAM])
@pytest_twisted.ensureDeferred
async def test_the_source_qemu_dies(rig: Any, phase: Phase) -> None:
    async with rig(Plan(64 * MIB)) as one:
        await one.breaks(phase, one.source.kill, MonitorLost, "web1: QEMU closed its monitor")
        assert one.reports[-1].phase is Phase.FAILED
        if phase is Phase.MIRROR:
            await one.cleared()


@pytest.mark.parametrize("phase", [Phase.MIRROR, Phase.RAM])
@pytest_twisted.ensureDeferred
async def test_the_control_channel_is_lost(rig: Any, phase: Phase) -> None:
    async with rig(Plan(64 * MIB)) as one:
        await one.breaks(phase, one.tunnel.cut_control, LinkLost, "control channel")
        await one.untouched()
        if phase is Phase.RAM:
            await one.renew()
        else:
            await pause(0.5)
            await one.cleared()
        await one.again()


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
        await one.again()


@pytest_twisted.ensureDeferred
async def test_a_disk_connection_breaks_and_qemu_makes_it_again(rig: Any) -> None:
    async with rig(Plan(96 * MIB, filled=1.0)) as one:
        running = one.start(bandwidth=BRISK)
        await one.phases[Phase.MIRROR]
        await pause(0.5)
        for ingress in one.tunnel.ingresses.values():
            ingress.cut()
        await running
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_the_memory_connection_breaks(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        running = one.start(bandwidth=SLOW)
        await one.phases[Phase.RAM]
        await pause(0.5)
        next(ingress for target, ingress in one.tunnel.ingresses.items() if target.startswith("ram.")).cut()
        with pytest.raises(NbdtunError, match=r"the memory migration ended|QEMU closed its monitor"):
            await running
        await one.untouched()


class Forgetful(DestinationControl):
    """Loses the channel when Finish comes: before it is carried out, or after."""

    carry_out = True
    transport: Any  # a UNIX socket's, which can do more than ITransport

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
        one.tunnel.serve = lambda: DestinationControl(one.daemon)
        await one.again()


@pytest.mark.parametrize("control", [Forgetful, Deaf])
@pytest_twisted.ensureDeferred
async def test_nobody_can_tell_and_the_source_stays_paused(rig: Any, control: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        first = one.daemon
        one.tunnel.serve = lambda: control(first)
        running = one.start()
        await one.phases[Phase.FINISH]
        one.restart_daemon()
        with pytest.raises(OutcomeUnknown, match="The source stays paused"):
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
        with pytest.raises(NotMigratable, match="is being migrated by another nbdtun"):
            await second.run()
        await running
        await one.moved()


@pytest_twisted.ensureDeferred
async def test_a_stopped_source_qemu_is_noticed(rig: Any) -> None:
    async with rig(Plan(64 * MIB)) as one:
        running = one.start(bandwidth=SLOW, steps=StepTimeouts(command=1))
        await one.phases[Phase.MIRROR]
        await pause(0.5)
        one.source.signal(signal.SIGSTOP)
        reactor.callLater(3, one.source.signal, signal.SIGCONT)
        with pytest.raises(MonitorError, match=r"QEMU has not answered .* for 1 s"):
            await running
        await one.untouched()
        await deferToThread(one.source.wait_ticks, 2)
