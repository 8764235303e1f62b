"""Another QEMU in the place of a pair's destination, behind the same daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab.crossing import Crossing
from lab.disks import Disk
from lab.qemu import Drive, Qemu


@contextmanager
def waiting(crossing: Crossing, drives: list[Drive] | None = None, **options: Any) -> Iterator[Qemu]:
    """It waits for a migration, with such drives, or with one for the source's first disk."""
    pair = crossing.pair
    pair.destination.kill()
    if drives is None:
        drives = [empty(crossing.directory, "vda", pair.source.drives[0].disk.size)]
    with Qemu("dst", crossing.directory, pair.guest, drives, **{"incoming": True, **options}) as vm:
        yield vm


def empty(directory: Path, name: str, size: int, **options: Any) -> Drive:
    """A drive of ``size`` bytes, which are zero."""
    return Drive(Disk(directory / f"{name}-other.raw", size).make_empty(), name, **options)
