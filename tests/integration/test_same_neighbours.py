"""`check` and `migrate` say the same of a disk that another program of the host serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.crossing import Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import Process, wait
from lab.qemu import MEMORY
from tests.integration.same import both

SHARED = ["-object", f"memory-backend-memfd,id=mem0,size={MEMORY}k,share=on", "-machine", "memory-backend=mem0"]


@pytest.fixture
def serve(directory: Path) -> Iterator[Callable[..., None]]:
    """Starts a program, and waits for its socket."""
    with ExitStack() as ending:

        def start(place: Path, *command: str | Path) -> None:
            process = ending.enter_context(Process(command, directory / f"{place.name}.log"))
            wait(place.exists, 20, f"{place}", process)

        yield start


def test_of_a_disk_of_another_process(
    pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path, serve: Callable[..., None]
) -> None:
    for name in ("src", "dst"):
        image, place = directory / f"{name}-outer.raw", directory / f"{name}.blk"
        image.write_bytes(bytes(MIB))
        export = f"type=vhost-user-blk,id=e0,node-name=f0,writable=on,addr.type=unix,addr.path={place}"
        serve(place, "qemu-storage-daemon", "--blockdev", f"driver=file,node-name=f0,filename={image}", "--export", export)
    outer = ["-chardev", f"socket,id=c0,path={directory}/NAME.blk", "-device", "vhost-user-blk-pci,id=outer,chardev=c0,addr=0x15"]
    (line,) = both(crossings(pairs(Plan(MIB), paused=True, extra=[*SHARED, *outer])))
    assert line.startswith("outer (vhost-user-blk-pci at pci:15.0)")
