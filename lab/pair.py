"""Two QEMUs and their disks: a source whose guest ticks, and a destination that waits.

What a migration must leave is checked by `faults()`, and what a failed one by
`disturbance()`; both return lines that say what is wrong, none for all well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lab import ticks
from lab.booted import Booted
from lab.disks import MIB, Disk, Format
from lab.guest import LOAD_END, Guest
from lab.qemu import Build, Drive, Interface, Qemu, Style

PAGE = 4096
GOING_SECONDS = 0.5


@dataclass(frozen=True)
class Plan:
    """A disk as both ends shall have it; the first is `vda`, then `vdb`, whatever its kind."""

    size: int = 128 * MIB
    fmt: Format = "raw"
    interface: Interface = "virtio"
    style: Style = "blockdev"
    filled: float = 0.5
    target_size: int | None = None
    target_fmt: Format | None = None
    read_only: bool = False


class Pair:
    """A source and a destination in one directory; a context manager that ends both."""

    def __init__(
        self,
        directory: Path,
        guest: Guest,
        plans: Sequence[Plan] = (Plan(),),
        *,
        builds: tuple[Build | None, Build | None] = (None, None),
        paused: bool = False,
        booted: Booted | None = None,
        **options: Any,
    ) -> None:
        """`options` are those of `Qemu`; `builds` are the two QEMUs, native if None. The source is woken from `booted` where it can be."""
        self.directory, self.guest = directory, guest
        self._build, self._options = builds[1], options
        drives = [_drives(directory, plan, number) for number, plan in enumerate(plans)]
        self._ended = ExitStack()
        with ExitStack() as stack:  # one that starts is ended if the other does not
            here = [a for a, _ in drives]
            if booted and not paused and not options and booted.can(guest, here):
                self.source = stack.enter_context(booted.start("src", directory, guest, here, builds[0]))
            else:
                self.source = stack.enter_context(Qemu("src", directory, guest, here, build=builds[0], paused=paused, **options))
            self.destination = stack.enter_context(self._waiting([b for _, b in drives]))
            self._ended = stack.pop_all()

    def _waiting(self, drives: Sequence[Drive]) -> Qemu:
        return Qemu("dst", self.directory, self.guest, drives, build=self._build, incoming=True, **self._options)

    def renew_destination(self, drives: Sequence[Drive] | None = None) -> None:
        """Another destination, with empty disks, the same ones if None: a QEMU can receive its memory only once."""
        self.destination.kill()
        drives = drives or self.destination.drives
        for drive in drives:
            drive.disk.make_empty()
        self.destination = self._ended.enter_context(self._waiting(drives))

    def renew_source(self) -> None:
        """The VM is started again at the source, with its disks as they are; its guest boots."""
        old = self.source
        old.kill()
        again = Qemu("src", self.directory, self.guest, old.drives, build=old.build, **self._options)
        self.source = self._ended.enter_context(again)

    def faults(self) -> list[str]:
        """What is missing at the destination, by every tick reported at either end."""
        last = max(self.source.ticks(), self.destination.ticks())
        found = []
        for one, other in zip(self.source.drives, self.destination.drives, strict=True):
            if one.read_only:
                continue
            arrived = one.disk.twin(other.disk.path, other.disk.fmt)
            found += [f"{one.name}: {line}" for line in ticks.lost(arrived.ticks(), last)]
            skip = LOAD_END if self.guest.disk else ticks.REGION
            found += [f"{one.name}: wrong from byte {offset}" for offset in arrived.wrong(skip)]
        return found

    def stale_pages(self) -> list[str]:
        """The addresses of the pages that differ, while the guest runs at neither end."""
        here, there = self.source.memory(), self.destination.memory()
        return [hex(at) for at in range(0, len(here), PAGE) if here[at : at + PAGE] != there[at : at + PAGE]]

    def disturbance(self) -> list[str]:
        """What is not at the source as if no migration had been tried."""
        found = self.source.leftovers()
        if self.source.status() != "running":
            found.append(f"the source is {self.source.status()}")
        elif not self.source.ticking():
            found.append("the source's guest does not tick")
        return found

    def last_words(self) -> str:
        """What the QEMUs have said that are gone, and their guests."""
        time.sleep(GOING_SECONDS)  # a monitor is closed a little before its process has ended
        gone = [vm for vm in (self.source, self.destination) if not vm.running()]
        return "; ".join(f"{vm!r}: {vm.log()[-500:]} {vm.console()[-500:]}" for vm in gone) or "both QEMUs run on"

    def both_running(self) -> bool:
        """The one thing that must never be."""
        return len(self.running()) == 2

    def running(self) -> list[Qemu]:
        """Those whose guest runs just now: the copies of the VM."""
        return [vm for vm in (self.source, self.destination) if vm.state() == "running"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.close()


def _drives(directory: Path, plan: Plan, number: int) -> tuple[Drive, Drive]:
    name = f"vd{'abcdefgh'[number]}"
    disk = Disk(directory / f"{name}-src.{plan.fmt}", plan.size, plan.fmt, number, plan.filled).make()
    fmt = plan.target_fmt or plan.fmt
    target = Disk(directory / f"{name}-dst.{fmt}", plan.target_size or plan.size, fmt).make_empty()
    source = Drive(disk, name, plan.interface, plan.style, plan.read_only)
    return source, Drive(target, name, plan.interface, plan.style, plan.read_only)
