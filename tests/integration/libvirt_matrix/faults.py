"""The faults of libvirt's VMs: what each does to a cell, and what an operator does about it afterwards."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from lab.libvirt_way import PATIENT
from tests.integration.libvirt_matrix.cell import HELD, Cell

Deed = Callable[[Cell], None]
RESTART_SECONDS = 1.0


def nothing(cell: Cell) -> None:
    """Nothing needs to be done."""


@dataclass(frozen=True)
class Fault:
    """`strike` it while the phase is held up; then it goes on; `mend` it when the migration has ended."""

    strike: Deed
    mend: Deed = nothing
    options: tuple[str, ...] = ("--resume-window", "60s")
    timeouts: float = 180
    """Seconds that the migration may take to its end."""


def _signal(number: signal.Signals) -> Deed:
    def send(cell: Cell) -> None:
        cell.attempt.signal(number)
        if number is signal.SIGKILL:
            return
        cell.attempt.wait_log("interrupt")  # "interrupted, rolling back", or "too late to interrupt"
        if cell.phase not in HELD:
            cell.attempt.wait_phase("rollback", PATIENT)  # else it is done before libvirt ends its job

    return send


def _restart(cell: Cell) -> None:
    """SIGTERM, and a new one as soon as the old one has ended; it waits for what is under way."""
    cell.daemon.signal(signal.SIGTERM)
    time.sleep(RESTART_SECONDS)
    cell.open()
    assert cell.daemon.wait_exit(120) == 0
    cell.serve()


def _end(cell: Cell) -> None:
    """SIGTERM twice, which does not wait for what is under way."""
    cell.daemon.signal(signal.SIGTERM)
    time.sleep(RESTART_SECONDS)
    cell.daemon.signal(signal.SIGTERM)
    cell.open()
    assert cell.daemon.wait_exit(120) == 0
    cell.serve()


def _kill(cell: Cell) -> None:
    """As its service manager would, somebody starts it again a moment later."""
    cell.daemon.kill()
    time.sleep(RESTART_SECONDS)
    cell.serve()


def _gone(cell: Cell) -> None:
    """What has not passed the sluice by then never does."""
    cell.daemon.kill()
    time.sleep(RESTART_SECONDS)


def _serve(cell: Cell) -> None:
    cell.serve()


def _pull(seconds: float) -> Deed:
    """The phase goes on meanwhile, as far as it can."""

    def pull(cell: Cell) -> None:
        cell.cable.pull(seconds)
        cell.open()
        time.sleep(seconds)

    return pull


def _silence(seconds: float) -> Deed:
    """The same, and nothing is refused meanwhile: a cable that is out of its socket says nothing."""

    def stall(cell: Cell) -> None:
        cell.cable.stall()
        cell.open()
        time.sleep(seconds)
        cell.cable.plug()

    return stall


def _unplug(cell: Cell) -> None:
    cell.cable.stall()


def _plug(cell: Cell) -> None:
    cell.cable.plug()


FAULTS: dict[str, Fault] = {
    "interrupt": Fault(_signal(signal.SIGINT)),
    "terminate": Fault(_signal(signal.SIGTERM)),
    "kill": Fault(_signal(signal.SIGKILL)),
    "daemon-restart": Fault(_restart),
    "daemon-terminate": Fault(_end),
    "daemon-kill": Fault(_kill),
    "daemon-gone": Fault(_gone, _serve),
    "cut-5": Fault(_pull(5)),
    "reject-45": Fault(_pull(45)),
    "cut-45": Fault(_silence(45)),
    "cut-290": Fault(_silence(290), options=("--resume-window", "400s"), timeouts=600),
    "cut": Fault(_unplug, _plug, options=("--resume-window", "10s")),
}
