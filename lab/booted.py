"""Guests that have booted already: each kind of VM boots once, is saved, and from then on only woken.

Booting takes 3 s of a processor without KVM, waking a tenth of it. What was saved
is QEMU's own migration stream, so a woken VM is one that has arrived by a migration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.guest import Guest
from lab.process import wait
from lab.qemu import Build, Drive, Qemu
from lab.ticks import SECTOR

TICKS = 5
"""The ticks that a guest has reported, at least, when it is saved."""


@dataclass(frozen=True)
class Saved:
    """A VM as it was stopped: its memory, and the beginnings of its disks, which its ticks have been written to."""

    memory: Path
    beginnings: tuple[bytes, ...]


class Booted:
    """The saved VMs, in a directory of this process's own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._saved: dict[object, Saved] = {}

    def can(self, guest: Guest, drives: Sequence[Drive]) -> bool:
        """Whether such a VM can be saved with all that its guest has written: there are ticks only, on raw images."""
        return guest.ram == guest.disk == 0 and all(drive.disk.fmt == "raw" for drive in drives)

    def start(self, name: str, directory: Path, guest: Guest, drives: Sequence[Drive], build: Build | None) -> Qemu:
        """A QEMU whose guest ticks already; its console begins with the first tick after its waking."""
        hardware = [(drive.name, drive.interface, drive.style, drive.read_only, drive.disk.size) for drive in drives]
        kind = (guest, build, *hardware)
        if kind not in self._saved:
            with Qemu(name, directory, guest, drives, build=build) as vm:
                self._saved[kind] = _save(vm, self._directory / f"{len(self._saved)}.memory")
        return _wake(self._saved[kind], Qemu(name, directory, guest, drives, build=build, incoming=True))


def _save(vm: Qemu, memory: Path) -> Saved:
    vm.wait_ticks(TICKS)
    vm.qmp("migrate", uri=f"exec:cat >{memory}")
    _arrived(vm)
    length = (vm.ticks() + 2) * SECTOR  # one tick may be under way, not yet reported
    return Saved(memory, tuple(drive.disk.ticks()[:length] for drive in vm.drives))


def _wake(saved: Saved, vm: Qemu) -> Qemu:
    try:
        for drive, beginning in zip(vm.drives, saved.beginnings, strict=True):
            with drive.disk.path.open("r+b") as image:
                image.write(beginning)
        vm.qmp("migrate-incoming", uri=f"exec:cat {saved.memory}")
        _arrived(vm)
        vm.qmp("cont")
    except BaseException:
        vm.kill()
        raise
    return vm


def _arrived(vm: Qemu) -> None:
    wait(lambda: bool(vm.qmp("query-migrate").get("status") == "completed"), 30, "the end of the migration", vm)
