"""Listening sockets: never on top of a living one, nor of a file; with the mode and the owner that were asked for."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.endpoints import UNIXServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol

from nbdtun.errors import ConfigError
from nbdtun.service.local.listening import ListeningService, LocalEndpoint, clear_stale


async def listening(path: Path | str, owner: tuple[int, int] | None = None, mode: str = "600") -> IListeningPort:
    from twisted.internet import reactor

    factory = Factory.forProtocol(Protocol)
    factory.noisy = False
    text = f"unix:{path}:mode={mode}"
    port: IListeningPort = await LocalEndpoint(serverFromString(reactor, text), text, str(path), owner).listen(factory)
    return port


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "nbd.sock"


class TestListening:
    @ensureDeferred
    async def test_it_has_its_mode_and_goes_with_its_daemon(self, path: Path) -> None:
        port = await listening(path, mode="640")
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
        def forbidden(*arguments: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "chown", forbidden)
        with pytest.raises(ConfigError, match=r": cannot be given to its owner: Operation not permitted$"):
            await listening(path, (1, 1))
        assert not path.exists()

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
            assert str(refused.value) == f"{path}: another process listens there already"
            assert path.exists()
            with pytest.raises(BlockingIOError):
                living.accept()

    @ensureDeferred
    async def test_a_file_is_left_alone(self, path: Path) -> None:
        path.write_text("precious")
        with pytest.raises(ConfigError) as refused:
            await listening(path)
        assert str(refused.value) == f"{path}: there is a file of that name, and it is not a socket"
        assert path.read_text() == "precious"

    @ensureDeferred
    async def test_a_directory_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"^unix:.*/none/nbd.sock:mode=600: No such file or directory$"):
            await listening(tmp_path / "none" / "nbd.sock")

    @ensureDeferred
    async def test_a_path_that_is_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="too long"):
            await listening(tmp_path / ("x" * 200))

    @ensureDeferred
    async def test_a_port_that_is_taken(self) -> None:
        from twisted.internet import reactor

        with socket.create_server(("127.0.0.1", 0)) as taken:
            text = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
            with pytest.raises(ConfigError) as refused:
                await LocalEndpoint(serverFromString(reactor, text), text).listen(Factory.forProtocol(Protocol))
        assert str(refused.value) == f"{text}: Address already in use"


def test_nothing_there_is_nothing_to_clear(path: Path) -> None:
    clear_stale(str(path))


def test_a_link_to_a_stale_one_is_what_is_removed(path: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "real.sock"))
    path.symlink_to(tmp_path / "real.sock")
    clear_stale(str(path))
    assert not path.is_symlink()


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_living_sockets_of_other_kinds_are_left_alone(path: Path, kind: int) -> None:
    with socket.socket(socket.AF_UNIX, kind) as living:
        living.bind(str(path))
        if kind == socket.SOCK_SEQPACKET:
            living.listen()
        with pytest.raises(ConfigError, match="another process listens there already"):
            clear_stale(str(path))
        assert path.exists()


def service_on(path: Path) -> ListeningService:
    from twisted.internet import reactor

    factory: Factory[None] = Factory()
    factory.noisy = False
    return ListeningService(UNIXServerEndpoint(reactor, f"{path}"), factory)


@ensureDeferred
async def test_its_socket_is_there_while_it_runs(tmp_path: Path) -> None:
    service = service_on(tmp_path / "s")
    service.startService()
    assert (tmp_path / "s").is_socket()
    await service.stopService()  # type: ignore[misc]
    assert not (tmp_path / "s").exists()


def test_who_cannot_listen_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(CannotListenError):
        service_on(tmp_path / "none" / "s").privilegedStartService()


def test_who_never_began_can_be_stopped(tmp_path: Path) -> None:
    assert service_on(tmp_path / "s").stopService() is None
