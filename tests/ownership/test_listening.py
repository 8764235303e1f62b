"""Listening sockets: never on top of a living one, nor of a file; with the mode and the owner that were asked for."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol

from nbdtun.errors import ConfigError
from nbdtun.ownership import listening as module
from nbdtun.ownership.listening import Listener, clear_stale


async def listening(path: Path | str, owner: tuple[int, int] | None = None, mode: int = 0o600) -> IListeningPort:
    from twisted.internet import reactor

    factory = Factory.forProtocol(Protocol)
    factory.noisy = False
    port: IListeningPort = await Listener(reactor, str(path), mode, owner).listen(factory)
    return port


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nbd.sock"


class TestListening:
    @ensureDeferred
    async def test_it_has_its_mode_and_goes_with_its_daemon(self, path: Path) -> None:
        port = await listening(path, mode=0o640)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        await port.stopListening()  # type: ignore[misc]
        assert not path.exists()

    @pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
    @ensureDeferred
    async def test_it_belongs_to_its_owner(self, path: Path) -> None:
        port = await listening(path, (1234, 5678))
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678)
        await port.stopListening()  # type: ignore[misc]

    @ensureDeferred
    async def test_it_cannot_be_given_away(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def forbidden(*arguments: object, **named: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "chown", forbidden)
        with pytest.raises(OSError, match=r"its owner cannot be changed: Operation not permitted$"):
            await listening(path, (1, 1))
        assert os.listdir(path.parent) == []

    @ensureDeferred
    async def test_what_has_come_into_its_place_is_left_alone(self, path: Path) -> None:
        port = await listening(path)
        path.rename(path.with_name("moved"))
        path.symlink_to(path.with_name("moved"))
        await port.stopListening()  # type: ignore[misc]
        assert path.is_symlink()

    @ensureDeferred
    async def test_whoever_comes_first_has_it(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        clear = module._clear_stale

        def beaten(directory: int, name: str) -> None:
            clear(directory, name)
            path.symlink_to("/etc/passwd")

        monkeypatch.setattr(module, "_clear_stale", beaten)
        with pytest.raises(ConfigError, match=r"nbd.sock: another process has just created it$"):
            await listening(path)
        assert os.listdir(path.parent) == [path.name]

    @pytest.mark.parametrize("rename", [None, lambda *arguments: -1])
    @ensureDeferred
    async def test_where_the_system_cannot_look_and_rename_at_once(self, path: Path, monkeypatch: pytest.MonkeyPatch, rename: Any) -> None:
        monkeypatch.setattr(module, "_rename", rename)
        monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EINVAL)
        port = await listening(path)
        assert path.is_socket()
        await port.stopListening()  # type: ignore[misc]

    @ensureDeferred
    async def test_a_stale_one_is_replaced(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
            dead.listen()
        port = await listening(path)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
        await port.stopListening()  # type: ignore[misc]

    @ensureDeferred
    async def test_a_living_one_is_neither_replaced_nor_disturbed(self, path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as living:
            living.bind(str(path))
            living.listen()
            living.setblocking(False)
            with pytest.raises(ConfigError) as refused:
                await listening(path)
            assert str(refused.value) == f"{path}: another process is already listening there"
            assert path.exists()
            with pytest.raises(BlockingIOError):
                living.accept()

    @ensureDeferred
    async def test_a_file_is_left_alone(self, path: Path) -> None:
        path.write_text("precious")
        with pytest.raises(ConfigError) as refused:
            await listening(path)
        assert str(refused.value) == f"{path}: it exists and is not a socket"
        assert path.read_text() == "precious"

    @ensureDeferred
    async def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            await listening(tmp_path / "none" / "nbd.sock")

    @ensureDeferred
    async def test_a_path_that_is_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="too long"):
            await listening(tmp_path / ("x" * 200))


def test_nothing_there_is_nothing_to_clear(path: Path) -> None:
    clear_stale(str(path))


def test_a_link_to_a_stale_one_is_left_alone(path: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "real.sock"))
    path.symlink_to(tmp_path / "real.sock")
    with pytest.raises(ConfigError, match="it exists and is not a socket"):
        clear_stale(str(path))
    assert path.is_socket()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_living_sockets_of_other_kinds_are_left_alone(path: Path, kind: int) -> None:
    with socket.socket(socket.AF_UNIX, kind) as living:
        living.bind(str(path))
        if kind == socket.SOCK_SEQPACKET:
            living.listen()
        with pytest.raises(ConfigError, match="another process is already listening there"):
            clear_stale(str(path))
        assert path.exists()
