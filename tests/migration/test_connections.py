from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbdtun.migration.connections import connections


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
    monkeypatch.setattr("nbdtun.migration.connections._TABLE", tmp_path / "none")
    with connect(server):
        assert connections(server.getsockname()) == 0
