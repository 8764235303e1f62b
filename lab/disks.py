"""Disk images with contents that can be known again.

Each MiB that is filled is one random MiB, turned round by a distance that is its
own: quick to write, and no sector equals another's that it could be taken for.
The extents in between are holes.
"""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lab.ticks import REGION

MIB = 1 << 20
EXTENT = 16 * MIB
TURN = 4097
"""Odd, so that no two MiB within 512 are turned alike by a multiple of a sector."""

Format = Literal["raw", "qcow2"]


@dataclass(frozen=True)
class Disk:
    """An image file and what was written to it."""

    path: Path
    size: int
    fmt: Format = "raw"
    seed: int = 0
    filled: float = 0.5
    """The share of its extents that hold data."""

    def make(self) -> Disk:
        """Write the image with its contents."""
        return self._write(contents=True)

    def make_empty(self) -> Disk:
        """Write an image of this size without contents: a migration's target."""
        return self._write(contents=False)

    def twin(self, path: Path, fmt: Format | None = None) -> Disk:
        """The same contents at another path: what a migration's target must become."""
        return replace(self, path=path, fmt=fmt or self.fmt)

    def _write(self, contents: bool) -> Disk:
        raw = self.path if self.fmt == "raw" else self.path.with_suffix(".tmp")
        with raw.open("wb") as file:
            file.truncate(self.size)
            for offset, block in self._blocks() if contents else ():
                os.pwrite(file.fileno(), block, offset)
        if self.fmt != "raw":
            convert(raw, self.path, "raw", self.fmt)
            raw.unlink()
        return self

    def wrong(self, skip: int = REGION) -> list[int]:
        """The offsets of the MiB, from `skip` on, that are not as they were made.

        The image may be in use: what a
        running guest has flushed is seen.
        """
        blocks = self._blocks()
        known, block = next(blocks, (self.size, b""))
        zeros = bytes(MIB)
        found = []
        with as_raw(self.path, self.fmt) as raw, raw.open("rb", buffering=0) as file:
            for offset in range(0, self.size, MIB):
                expected = block if offset == known else zeros[: self.size - offset]
                if offset >= skip and _part(file.fileno(), offset, self.size) != expected:
                    found.append(offset)
                if offset == known:
                    known, block = next(blocks, (self.size, b""))
        return found

    def ticks(self) -> bytes:
        """The region that the guest's ticks are written to."""
        with as_raw(self.path, self.fmt, REGION) as raw, raw.open("rb") as file:
            return file.read(REGION)

    def allocated(self) -> int:
        """The bytes that the image takes on the host."""
        return allocated(self.path)

    def _blocks(self) -> Iterator[tuple[int, bytes]]:
        source = random.Random(self.seed)
        block = source.randbytes(MIB) * 2
        extents = range(0, self.size, EXTENT)
        for start in sorted(source.sample(extents, round(len(extents) * self.filled))):
            for offset in range(start, min(start + EXTENT, self.size), MIB):
                turn = offset // MIB * TURN % MIB
                yield offset, block[turn : turn + min(MIB, self.size - offset)]


def allocated(path: Path) -> int:
    """The bytes that a file takes on the host; less than its size where it has holes."""
    return path.stat().st_blocks * 512


def differences(one: Disk, other: Disk, skip: int = REGION) -> list[int]:
    """The offsets of the MiB, from `skip` on, at which two images differ, up to the shorter's end."""
    size = min(one.size, other.size)
    with (
        as_raw(one.path, one.fmt) as first,
        as_raw(other.path, other.fmt) as second,
        first.open("rb", buffering=0) as a,
        second.open("rb", buffering=0) as b,
    ):
        offsets = range(skip, size, MIB)
        return [offset for offset in offsets if _part(a.fileno(), offset, size) != _part(b.fileno(), offset, size)]


def _part(descriptor: int, offset: int, size: int) -> bytes:
    return os.pread(descriptor, min(MIB, size - offset), offset)


@contextmanager
def as_raw(path: Path, fmt: Format, size: int | None = None) -> Iterator[Path]:
    """An image as a raw file: itself, or a copy of it (of its start) that lives as long."""
    if fmt == "raw":
        yield path
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        raw = Path(folder) / "raw"
        if size is None:
            convert(path, raw, fmt, "raw")
        else:
            copy = f"if={path}", f"of={raw}", f"bs={MIB}", f"count={-(-size // MIB)}"
            _qemu_img("dd", "-U", "-f", fmt, "-O", "raw", *copy)
        yield raw


def convert(source: Path, target: Path, from_fmt: Format, to_fmt: Format) -> None:
    """Copy an image to another format, sparse ones sparsely; it may be in use."""
    _qemu_img("convert", "-U", "-f", from_fmt, "-O", to_fmt, f"{source}", f"{target}")


def _qemu_img(*arguments: str) -> None:
    done = subprocess.run(["qemu-img", *arguments], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"qemu-img {' '.join(arguments)}: {done.stderr.strip()}")
