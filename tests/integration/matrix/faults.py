"""The faults: each what it does to a cell, what an operator does about it afterwards, and how it is told in the table."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from lab.disks import MIB
from lab.gate import Gate
from lab.process import Process, wait
from lab.qemu import Qemu
from lab.qmp import QmpError
from tests.integration.matrix.cell import Cell

Deed = Callable[[Cell], None]
RESTART_SECONDS = 1.0
SHORT = ("--resume-window", "2s", "--link-timeout", "1s")


def nothing(cell: Cell) -> None:
    """Nothing needs to be done."""


@dataclass(frozen=True)
class Fault:
    """`strike` it; `held` while the phase is still held up, else when it goes on; `mend` what an operator would."""

    strike: Deed
    mend: Deed = nothing
    before: Deed = nothing
    """What has to be there before the migration begins."""
    outset: bool = False
    """It is met before the phase can be held up, by what was there `before`."""
    options: tuple[str, ...] = ()
    hasty: bool = False
    """With short limits at both ends: the fixture `hasty`."""
    timeouts: float = 120
    """Seconds that the migration may take to its end."""


def _signal(number: signal.Signals) -> Deed:
    def send(cell: Cell) -> None:
        cell.attempt.signal(number)
        if number is not signal.SIGKILL:
            cell.attempt.wait_log("interrupt")  # "interrupted, rolling back", or "too late to interrupt"

    return send


def _restart_daemon(cell: Cell) -> None:
    """SIGTERM, and a new one as soon as the old one has ended; what that has to say to QEMU must pass the gate."""
    cell.crossing.daemon.signal(signal.SIGTERM)
    time.sleep(RESTART_SECONDS)
    cell.open()
    cell.crossing.cable.plug()
    assert cell.crossing.daemon.wait_exit(120) == 0
    cell.crossing.start_daemon()


def _end_daemon(cell: Cell) -> None:
    """SIGTERM twice, which does not wait for what is under way."""
    cell.crossing.daemon.signal(signal.SIGTERM)
    time.sleep(RESTART_SECONDS)
    cell.crossing.daemon.signal(signal.SIGTERM)
    cell.open()
    cell.crossing.cable.plug()
    assert cell.crossing.daemon.wait_exit(120) == 0
    cell.crossing.start_daemon()


def _kill_daemon(cell: Cell) -> None:
    """As its service manager would, somebody starts it again a moment later."""
    cell.crossing.daemon.kill()
    time.sleep(RESTART_SECONDS)
    cell.crossing.start_daemon()


def _vm(cell: Cell, end: str) -> Qemu:
    return cell.pair.source if end == "source" else cell.pair.destination


def _kill(end: str) -> Deed:
    def kill(cell: Cell) -> None:
        _gate(cell, end).refuse()
        _vm(cell, end).kill()

    return kill


def _admit(end: str) -> Deed:
    return lambda cell: _gate(cell, end).admit()


def _gate(cell: Cell, end: str) -> Gate:
    return cell.gates["src" if end == "source" else "dst"]


def _stop(end: str) -> Deed:
    return lambda cell: _vm(cell, end).signal(signal.SIGSTOP)


def _continue(end: str) -> Deed:
    return lambda cell: _vm(cell, end).signal(signal.SIGCONT)


def _hang_up(end: str) -> Deed:
    return lambda cell: _gate(cell, end).drop()


def _broken(error: str) -> Deed:
    """The destination's disk is served by nbdkit, which fails everything while a file is there."""

    def serve(cell: Cell) -> None:
        (drive,) = cell.pair.destination.drives
        path = cell.pair.directory / "shelf.sock"
        fails = [f"error={error}", "error-pwrite-rate=100%", "error-zero-rate=100%", "error-trim-rate=100%", f"error-file={_trigger(cell)}"]
        command = ["nbdkit", "-f", "-U", f"{path}", "--filter=error", "file", f"{drive.disk.path}", *fails]
        server = cell.ended.enter_context(Process(command, cell.pair.directory / "nbdkit.log"))
        wait(path.exists, 10, "nbdkit", server)
        cell.pair.renew_destination([replace(drive, server=path)])

    return serve


def _trigger(cell: Cell) -> Path:
    return cell.pair.directory / "broken"


def _break(cell: Cell) -> None:
    _trigger(cell).touch()


def _repair(cell: Cell) -> None:
    _trigger(cell).unlink()


def _read_only(cell: Cell) -> None:
    cell.pair.renew_destination([replace(drive, read_only=True) for drive in cell.pair.destination.drives])


def _writable(cell: Cell) -> None:
    cell.pair.renew_destination([replace(drive, read_only=False) for drive in cell.pair.destination.drives])


def _shut_down(cell: Cell) -> None:
    """QEMU was started with -no-reboot, so it ends as with a guest that powers itself off."""
    cell.pair.source.qmp("system_reset")
    cell.pair.source.wait_exit(20)


def _shut_down_and_stay(cell: Cell) -> None:
    """As libvirt starts its QEMUs, with -no-shutdown.

    The RAM of a guest that stands still is soon sent. If that is sooner than the migration is undone, QEMU before 8.2 forgets
    why the guest stands: it says "postmigrate".
    """
    cell.pair.source.qmp("set-action", shutdown="pause")
    cell.pair.source.qmp("system_reset")
    cell.pair.source.wait_status("shutdown", "postmigrate")


def _boot_again(cell: Cell) -> None:
    source = cell.pair.source
    source.qmp("set-action", shutdown="poweroff", reboot="reset")
    source.qmp("system_reset")
    source.qmp("cont")
    source.wait_ticks(2)


def _reset(cell: Cell) -> None:
    """Where it arrives meanwhile, too: a BIOS that finds itself in use resets the machine once more."""
    for vm in (cell.pair.source, cell.pair.destination):
        vm.qmp("set-action", reboot="reset")
    cell.pair.source.qmp("system_reset")


def _resize(end: str, by: int) -> Deed:
    def resize(cell: Cell) -> None:
        vm = _vm(cell, end)
        (drive,) = vm.drives
        with suppress(QmpError, ConnectionError):  # QEMU refuses what a mirror or an export uses; one that waits may abort
            vm.qmp("block_resize", node_name=drive.name, size=drive.disk.size + by)

    return resize


def _take_monitor(end: str) -> Deed:
    """Connect to it, and stay; QEMU serves one client at a time."""

    def take(cell: Cell) -> None:
        other = cell.ended.enter_context(socket.socket(socket.AF_UNIX))
        other.connect(f"{_vm(cell, end).qmp_path}")

    return take


def _pull(cell: Cell) -> None:
    cell.crossing.cable.pull()


def _plug(cell: Cell) -> None:
    cell.crossing.cable.plug()


FAULTS: dict[str, Fault] = {
    "interrupt": Fault(_signal(signal.SIGINT)),
    "terminate": Fault(_signal(signal.SIGTERM)),
    "kill": Fault(_signal(signal.SIGKILL)),
    "daemon-restart": Fault(_restart_daemon),
    "daemon-terminate": Fault(_end_daemon),
    "daemon-kill": Fault(_kill_daemon),
    "source-killed": Fault(_kill("source"), _admit("source")),
    "source-stopped": Fault(_stop("source"), _continue("source"), hasty=True),
    "source-monitor": Fault(_hang_up("source")),
    "destination-killed": Fault(_kill("destination"), _admit("destination")),
    "destination-stopped": Fault(_stop("destination"), _continue("destination"), hasty=True),
    "destination-monitor": Fault(_hang_up("destination")),
    "disk-full": Fault(_break, _repair, _broken("ENOSPC")),
    "disk-error": Fault(_break, _repair, _broken("EIO")),
    "disk-read-only": Fault(nothing, _writable, _read_only, outset=True),
    "guest-off": Fault(_shut_down),
    "guest-off-kept": Fault(_shut_down_and_stay, _boot_again),
    "guest-reset": Fault(_reset),
    "source-resized": Fault(_resize("source", 16 * MIB), _resize("source", 0)),
    "destination-resized": Fault(_resize("destination", 16 * MIB)),
    "source-monitor-taken": Fault(_take_monitor("source")),
    "destination-monitor-taken": Fault(_take_monitor("destination")),
    "cut": Fault(_pull, _plug, options=SHORT),
}
