"""The lab works: without the product, so that what fails with it is the product's."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from lab import bare, ticks
from lab.cable import Cable
from lab.daemon import free_port
from lab.disks import MIB, Disk, differences
from lab.guest import Guest
from lab.pair import Pair, Plan
from lab.qemu import Drive, Interface, Qemu, Style

BUILDS = {"native": "native_qemu", "recent": "recent_qemu"}


@pytest.mark.parametrize(
    ("here", "there", "style"),
    [
        ("native", "native", "blockdev"),
        pytest.param("native", "recent", "drive", marks=pytest.mark.slow),
        pytest.param("recent", "native", "drive", marks=pytest.mark.slow),
        ("recent", "recent", "blockdev"),
    ],
)
def test_bare_migration(request: pytest.FixtureRequest, pairs: Callable[..., Pair], here: str, there: str, style: Style) -> None:
    builds = tuple(request.getfixturevalue(BUILDS[name]) for name in (here, there))
    pair = pairs(Plan(style=style), Plan(64 * MIB, "qcow2", style=style), builds=builds)
    pair.source.wait_ticks(10)
    bare.migrate(pair.source, pair.destination, *bare.ways(pair.directory))
    pair.destination.wait_ticks(5)
    assert not pair.both_running()
    assert pair.faults() == []
    assert pair.source.leftovers() == pair.destination.leftovers() == []
    assert pair.destination.drives[0].disk.allocated() < 80 * MIB


@pytest.mark.parametrize("interface", ["virtio", "ide", "scsi"])
def test_every_kind_of_disk_ticks(pairs: Callable[..., Pair], interface: Interface) -> None:
    pair = pairs(Plan(interface=interface), Plan(32 * MIB, "qcow2", interface=interface))
    last = pair.source.wait_ticks(10)
    for drive in pair.source.drives:
        assert ticks.lost(drive.disk.ticks(), last) == []
        assert drive.disk.wrong() == []
    assert ticks.gaps(pair.source.console()) == []
    assert pair.disturbance() == []


def test_a_guest_with_load(directory: Path, guest: Guest) -> None:
    disk = Disk(directory / "disk", 128 * MIB).make()
    with Qemu("loaded", directory, replace(guest, disk=20, ram=20), [Drive(disk)]) as vm:
        vm.wait_ticks(20)
        assert any(disk.wrong())
        assert all(offset < 66 * MIB for offset in disk.wrong())


def test_disks_are_known_again(directory: Path) -> None:
    raw = Disk(directory / "raw", 100 * MIB + 512, seed=7).make()
    copy = raw.twin(directory / "qcow2", "qcow2").make()
    assert raw.wrong() == copy.wrong() == differences(raw, copy) == []
    assert raw.allocated() < 60 * MIB
    assert replace(raw, seed=8).wrong()
    with raw.path.open("r+b") as file:
        file.seek(50 * MIB + 12345)
        file.write(b"x")
    assert raw.wrong() == differences(raw, copy) == [50 * MIB]


@pytest.fixture
def echo() -> Iterator[int]:
    """A port that sends back what it gets, and ends when its peer does."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve(peer: socket.socket) -> None:
        with peer:
            try:
                while data := peer.recv(MIB):
                    peer.sendall(data)
            except OSError:
                pass  # cut

    def accept() -> None:
        while True:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


@pytest.fixture
def cable(directory: Path, echo: int) -> Iterator[Cable]:
    with Cable(directory, echo) as cable:
        yield cable


def dial(cable: Cable) -> socket.socket:
    """A connection through the cable that has been answered once."""
    peer = socket.create_connection(("127.0.0.1", cable.port), timeout=10)
    assert ask(peer, b"hello") == b"hello"
    return peer


def ask(peer: socket.socket, data: bytes) -> bytes:
    peer.sendall(data)
    answer = b""
    while len(answer) < len(data) and (more := peer.recv(len(data))):
        answer += more
    return answer


def test_a_slow_cable_is_shared(cable: Cable) -> None:
    """Two that always have something to say come through alike."""
    passed = [0, 0]
    with dial(cable) as one, dial(cable) as other:
        cable.slow(20 * MIB)

        def say(number: int, peer: socket.socket) -> None:
            with suppress(OSError):
                while data := peer.recv(MIB):
                    passed[number] += len(data)

        def tell(peer: socket.socket) -> None:
            with suppress(OSError):
                while True:
                    peer.sendall(bytes(MIB))

        for number, peer in enumerate((one, other)):
            for work in ((say, number, peer), (tell, peer)):
                threading.Thread(target=work[0], args=work[1:], daemon=True).start()
        time.sleep(2)
        heard = sorted(passed)
        cable.cut()
    assert heard[0] > heard[1] / 2 > 0


def test_cable_cuts(cable: Cable) -> None:
    with dial(cable) as peer:
        cable.cut()
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    with dial(cable) as peer:
        cable.cut_after(1000, "up")
        peer.sendall(bytes(1000))
        with pytest.raises(ConnectionResetError):
            ask(peer, bytes(2000))
    assert cable.counters().up == 1010


def test_cable_stalls_and_lingers(cable: Cable) -> None:
    with dial(cable) as old:
        cable.stall("down")
        old.settimeout(0.2)
        with pytest.raises(TimeoutError):
            ask(old, b"late")
        assert cable.counters().up == 9
        cable.plug()
        assert old.recv(9) == b"late"
        cable.linger()
        with dial(cable), pytest.raises(TimeoutError):
            ask(old, b"later")
        cable.plug()
        assert old.recv(9) == b"later"


def test_cable_is_slow(cable: Cable) -> None:
    with dial(cable) as peer:
        cable.slow(100_000, "up")
        begun = time.monotonic()
        assert ask(peer, bytes(50_000)) == bytes(50_000)
        assert 0.3 < time.monotonic() - begun < 3
        cable.plug()
        cable.trickle()
        assert ask(peer, bytes(1000)) == bytes(1000)


def test_cable_is_pulled(cable: Cable) -> None:
    with dial(cable) as peer:
        cable.pull(0.5)
        with pytest.raises(ConnectionError):
            dial(cable)
        with pytest.raises(ConnectionResetError):
            peer.recv(1)
    time.sleep(0.7)
    dial(cable).close()


def test_cable_refuses_while_nobody_listens_behind_it(directory: Path) -> None:
    port = free_port()
    with Cable(directory, port) as cable:
        with socket.create_server(("127.0.0.1", port)):
            socket.create_connection(("127.0.0.1", cable.port)).close()
        with suppress(ConnectionError):  # it learns that by one that it has accepted
            socket.create_connection(("127.0.0.1", cable.port)).recv(1)
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", cable.port))
            time.sleep(0.1)
        with socket.create_server(("127.0.0.1", port)):
            time.sleep(0.5)
            socket.create_connection(("127.0.0.1", cable.port)).close()
