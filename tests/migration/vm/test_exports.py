from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import CommandFailed, DestinationFailed
from nbdtun.migration.rollback.undo import UndoStack
from nbdtun.migration.vm.disks import Disk
from nbdtun.migration.vm.exports import AGAIN_SECONDS, LEAVING_SECONDS, Exports, Pairing, connections, pair, sweep
from tests.migration.stage.paper import Sheet

SESSION = "0123456789abcdef" * 2
NAME = "nbdtun-0123456789abcdef-0"
SAME = Pairing(Disk("a", "", "d", 512), Disk("b", "", "d", 512), NAME)
LARGER = Pairing(Disk("a", "", "d", 512), Disk("b", "", "d", 4096), NAME)


def sheet(**answers: Any) -> Sheet:
    table = {"query-block-exports": [], "query-named-block-nodes": [{"node-name": "b"}]}
    return Sheet(Clock(), table | {key.replace("_", "-"): value for key, value in answers.items()})


def test_pairs_are_named_in_order() -> None:
    wanted, here = (Disk("x", "", "one", 1), Disk("y", "", "two", 2)), (Disk("p", "", "one", 9), Disk("q", "", "two", 2))
    assert [(one.here.node, one.name) for one in pair(SESSION, wanted, here)] == [("p", NAME), ("q", NAME[:-1] + "1")]


@pytest_twisted.ensureDeferred
async def test_disks_of_one_size_are_exported_themselves() -> None:
    qemu = sheet()
    exports = Exports(qemu.clock, qemu, "/run/nbd.sock")
    assert repr(exports) == "<Exports /run/nbd.sock stopped>"
    await exports.start((SAME,), UndoStack(qemu.clock, 1))
    assert qemu.arguments["nbd-server-start"] == [{"addr": {"type": "unix", "data": {"path": "/run/nbd.sock"}}}]
    assert qemu.arguments["block-export-add"] == [{"type": "nbd", "id": NAME, "name": NAME, "node-name": "b", "writable": True}]
    assert "blockdev-add" not in qemu.asked
    await exports.stop()
    await exports.stop()
    assert qemu.asked.count("nbd-server-stop") == 1


@pytest_twisted.ensureDeferred
async def test_a_larger_disk_is_exported_through_a_slice() -> None:
    qemu = sheet()
    undo = UndoStack(qemu.clock, 1)
    await Exports(qemu.clock, qemu, "/run/nbd.sock").start((LARGER,), undo)
    its_node = {"driver": "raw", "node-name": NAME, "offset": 0, "size": 512, "discard": "unmap", "file": "b"}
    assert qemu.arguments["blockdev-add"] == [its_node]
    assert qemu.arguments["block-export-add"][0]["node-name"] == NAME
    qemu.answers["query-named-block-nodes"] = [{"node-name": NAME}]
    assert await undo.unwind() == []
    assert qemu.asked[-3:] == ["nbd-server-stop", "query-named-block-nodes", "blockdev-del"]


class TestClients:
    """A QEMU that is told to stop while one of them is in its handshake never answers again."""

    @pytest.fixture
    def client(self, tmp_path: Path) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind(f"{tmp_path}/nbd.sock")
            server.listen()
            client.connect(server.getsockname())
            yield server.accept()[0]

    @pytest.fixture
    def qemu(self) -> Sheet:
        return sheet()

    @pytest.fixture
    def stopping(self, qemu: Sheet, client: socket.socket) -> Deferred[None]:
        exports = Exports(qemu.clock, qemu, client.getsockname())
        Deferred.fromCoroutine(exports.start((SAME,), UndoStack(qemu.clock, 1)))
        return Deferred.fromCoroutine(exports.stop())

    def test_they_are_waited_for(self, qemu: Sheet, client: socket.socket, stopping: Deferred[None]) -> None:
        qemu.clock.pump([AGAIN_SECONDS] * 5)
        assert "nbd-server-stop" not in qemu.asked
        client.close()
        qemu.clock.advance(AGAIN_SECONDS)
        assert qemu.asked[-1] == "nbd-server-stop"
        assert stopping.called

    def test_those_that_stay_are_past_their_handshake(self, qemu: Sheet, stopping: Deferred[None]) -> None:
        qemu.clock.advance(LEAVING_SECONDS - 1)
        assert "nbd-server-stop" not in qemu.asked
        qemu.clock.advance(1)
        assert qemu.asked[-1] == "nbd-server-stop"
        assert stopping.called


@pytest_twisted.ensureDeferred
async def test_a_foreign_nbd_server_is_left_alone() -> None:
    qemu = sheet(nbd_server_start=CommandFailed("web1: NBD server already running"))
    undo = UndoStack(qemu.clock, 1)
    with pytest.raises(DestinationFailed, match="already running; if no other tool uses this VM, stop that server with nbd-server-stop"):
        await Exports(qemu.clock, qemu, "/run/nbd.sock").start((SAME,), undo)
    assert await undo.unwind() == []
    assert "nbd-server-stop" not in qemu.asked


@pytest_twisted.ensureDeferred
async def test_what_an_earlier_session_left_is_removed() -> None:
    qemu = sheet(query_block_exports=[{"id": NAME}], query_named_block_nodes=[{"node-name": "b"}, {"node-name": NAME}])
    await sweep(qemu)
    assert qemu.asked[-1] == "blockdev-del"
    assert "nbd-server-stop" in qemu.asked
    qemu = sheet(query_block_exports=[{"id": NAME}, {"id": "libvirt"}])
    await sweep(qemu)
    assert "nbd-server-stop" not in qemu.asked
    assert qemu.arguments["block-export-del"] == [{"id": NAME, "mode": "hard"}]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/a nbd.sock")
        listening.listen()
        yield listening


def connect(server: socket.socket) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(server.getsockname())
    return client


def test_a_socket_that_nobody_connects_to(server: socket.socket) -> None:
    assert connections(server.getsockname()) == 0
    assert connections("/nonexistent") == 0


def test_one_that_is_not_accepted_yet_counts(server: socket.socket) -> None:
    with connect(server):
        assert connections(server.getsockname()) == 1


def test_one_whose_client_has_gone_counts_until_the_server_closes_it(server: socket.socket) -> None:
    connect(server).close()
    assert connections(server.getsockname()) == 1
    accepted, _ = server.accept()
    assert connections(server.getsockname()) == 1
    accepted.close()
    assert connections(server.getsockname()) == 0


def test_others_of_a_longer_name_do_not_count(server: socket.socket) -> None:
    with connect(server), connect(server):
        assert connections(server.getsockname()) == 2
        assert connections("nbd.sock") == 0


def test_without_the_kernels_table_none_are_seen(server: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nbdtun.migration.vm.exports._TABLE", tmp_path / "none")
    with connect(server):
        assert connections(server.getsockname()) == 0
