"""Who cannot listen does not start; who never began can be stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory

from nbdtun.service.listening import ListeningService


def listening(path: Path) -> ListeningService:
    from twisted.internet import reactor

    factory: Factory[None] = Factory()
    factory.noisy = False
    return ListeningService(UNIXServerEndpoint(reactor, f"{path}"), factory)


@ensureDeferred
async def test_its_socket_is_there_while_it_runs(tmp_path: Path) -> None:
    service = listening(tmp_path / "s")
    service.startService()
    assert (tmp_path / "s").is_socket()
    await service.stopService()  # type: ignore[misc]
    assert not (tmp_path / "s").exists()


def test_who_cannot_listen_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(CannotListenError):
        listening(tmp_path / "none" / "s").privilegedStartService()


def test_who_never_began_can_be_stopped(tmp_path: Path) -> None:
    assert listening(tmp_path / "s").stopService() is None
