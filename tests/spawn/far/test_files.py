"""The other paths of a plan, at the far end."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from nbdtun.spawn.content import digest
from nbdtun.spawn.far.files import judge
from nbdtun.spawn.values import Path as Where
from nbdtun.spawn.values import Role


def found(path: Path, role: Role, overwrite: bool = False, **more: object) -> list[str]:
    return [finding.what.removeprefix(f"-x: {path} ") for finding in judge(Where(str(path), role, "-x", **more), overwrite)]  # type: ignore[arg-type]


@pytest.mark.parametrize("role", [role for role in Role if role not in (Role.SOCKET, Role.LOG, Role.APPENDED, Role.PIDFILE, Role.RAM)])
def test_what_is_not_there(tmp_path: Path, role: Role) -> None:
    said = "has no server" if role is Role.SERVED else "is not there"
    assert found(tmp_path / "a/b", role) == [said]


@pytest.mark.parametrize("role", [Role.SOCKET, Role.LOG, Role.APPENDED, Role.PIDFILE, Role.RAM])
def test_what_is_made(tmp_path: Path, role: Role) -> None:
    assert found(tmp_path / "a", role) == []


def test_the_same_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert found(path, Role.MEDIUM, size=3, digest=digest(str(path))) == []
    assert found(path, Role.MEDIUM, size=3, digest="x") == ["has another content than at the source"]
    assert found(path, Role.MEDIUM, size=4096, digest="x") == ["has 3 B, and 4 KiB at the source"]


def test_a_log_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.touch()
    assert found(path, Role.LOG) == []
    path.write_text("x")
    assert found(path, Role.LOG) == ["is there already, and QEMU would overwrite it"]
    assert found(path, Role.LOG, True) == found(path, Role.APPENDED) == []


def test_a_pidfile_of_a_process_that_lives(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text(f"{os.getpid()}\n")
    assert found(path, Role.PIDFILE) == ["is there already, and QEMU would overwrite it"]
    path.write_text("4000000\n")
    assert found(path, Role.PIDFILE) == []


def test_sockets(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert found(path, Role.SERVED) == ["has no server"]
        server.listen()
        assert found(path, Role.SERVED) == []
        assert found(path, Role.SOCKET)[0].endswith("another process listens there")
    assert found(path, Role.SOCKET) == []


def test_a_directory_and_memory(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert found(tmp_path / "a", Role.DIRECTORY) == found(tmp_path / "a", Role.MEMORY) == ["is no directory"]
    assert found(tmp_path, Role.DIRECTORY) == found(tmp_path, Role.MEMORY) == []


def test_a_file_in_a_sockets_place_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("somebody's")
    assert found(tmp_path / "a", Role.SOCKET, True) == ["is there already, is no socket, and QEMU would remove it"]
