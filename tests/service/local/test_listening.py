"""What is listened on, by any kind of endpoint: a failure is one line."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.endpoints import UNIXServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol

from nbdtun.errors import ConfigError
from nbdtun.ownership.listening import Listener
from nbdtun.service.local.listening import ListeningService, LocalEndpoint


@ensureDeferred
async def test_a_port_that_is_taken() -> None:
    from twisted.internet import reactor

    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        with pytest.raises(ConfigError) as refused:
            await LocalEndpoint(serverFromString(reactor, text), text).listen(Factory.forProtocol(Protocol))
    assert str(refused.value) == f"{text}: Address already in use"


@ensureDeferred
async def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    from twisted.internet import reactor

    path = f"{tmp_path}/none/nbd.sock"
    with pytest.raises(ConfigError) as refused:
        await LocalEndpoint(Listener(reactor, path, 0o600), f"unix:{path}").listen(Factory.forProtocol(Protocol))
    assert str(refused.value) == f"unix:{path}: No such file or directory"


def service_on(path: Path) -> ListeningService:
    from twisted.internet import reactor

    factory: Factory[Protocol] = Factory()
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
