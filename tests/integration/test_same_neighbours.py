"""`check` and `migrate` say the same of disks and files that the host serves in other ways, and of a dump beside."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from lab.crossing import Crossing
from lab.disks import MIB
from lab.pair import Pair, Plan
from lab.process import Process, wait
from lab.qemu import MEMORY
from tests.integration.mount_9p import Mounting
from tests.integration.outcome import arrived
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


def test_of_files_of_another_process(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    """virtiofs: QEMU 7.2 itself cannot send such a device's state; and its files are the host's in any case."""
    shared = ["-chardev", f"socket,id=c0,path={directory}/NAME.fs", "-device", "vhost-user-fs-pci,id=fs0,chardev=c0,tag=t,addr=0x15"]
    with files_served(directory / "src.fs"), files_served(directory / "dst.fs"):
        lines = both(crossings(pairs(Plan(MIB), paused=True, extra=[*SHARED, *shared])))
    if len(lines) == 2:
        assert lines.pop(0) == (
            "web1 cannot be migrated: QEMU cannot send the state of fs0 (vhost-user-fs-pci at pci:15.0); unplug that device"
        )
    (line,) = lines
    assert line.startswith("fs0 (vhost-user-fs-pci at pci:15.0) gives the guest access to files of the host, which are not copied")


def test_of_files_that_the_guest_has_mounted(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    """9p: QEMU refuses while they are mounted, and says so itself."""
    (directory / "files").mkdir()
    device = "virtio-9p-pci,id=share,fsdev=f0,mount_tag=t,addr=0x15,disable-modern=on,disable-legacy=off"
    files = ["-fsdev", f"local,id=f0,path={directory}/files,security_model=none", "-device", device]
    qtest = ["-qtest", f"unix:{directory}/NAME.qtest,server=on,wait=off", "-qtest-log", "/dev/null"]
    crossing = crossings(pairs(Plan(MIB), paused=True, extra=[*files, *qtest]))
    (content,) = both(crossing)
    assert content.startswith("share (virtio-9p-pci at pci:15.0) gives the guest access to files of the host")
    guest = Mounting(directory / "src.qtest")
    guest.mount()
    blocked, again = both(crossing)
    assert again == content
    assert f"VirtFS export path '{directory}/files' is mounted in the guest using mount_tag 't'; unmount it in the guest" in blocked
    assert both(crossing, "--allow-mismatch", "share") == [blocked]
    guest.close()


def test_of_a_dump_beside(pairs: Callable[..., Pair], crossings: Callable[..., Crossing], directory: Path) -> None:
    """It has paused the guest until its last byte is written, here for as long as nobody reads it."""
    crossing = crossings(pairs(Plan(MIB)))
    source = crossing.pair.source
    os.mkfifo(directory / "dump")
    reader = os.open(directory / "dump", os.O_RDWR | os.O_NONBLOCK)
    try:
        source.qmp("dump-guest-memory", paging=False, protocol=f"file:{directory}/dump", detach=True)
        assert both(crossing) == [
            "web1 cannot be migrated: a snapshot or a dump of it is being written; wait for it",
            "QEMU at the source: a dump of the guest's memory is being written; wait for it",
        ]
        while source.qmp("query-dump")["status"] == "active":
            with suppress(BlockingIOError):
                os.read(reader, MIB)
    finally:
        os.close(reader)
    assert crossing.migrate().wait_exit(60) == 0
    arrived(crossing)


@contextmanager
def files_served(place: Path) -> Iterator[None]:
    """As much of a virtiofsd as a device needs to be there: it answers what vhost-user asks for, which is features."""
    version, protocol, log = 32, 30, 26  # VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES, VHOST_F_LOG_ALL
    features = {1: 1 << version | 1 << protocol | 1 << log, 15: 1 << 1}  # of the device; of the protocol: LOG_SHMFD
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}")
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, connection.makefile("rb") as told:
                while header := told.read(12):
                    request, _, size = struct.unpack("<III", header)
                    told.read(size)
                    if request in features:
                        connection.sendall(struct.pack("<IIIQ", request, 0x5, 8, features[request]))

        threading.Thread(target=serve, daemon=True).start()
        yield
