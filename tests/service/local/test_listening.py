"""What is listened on, by any kind of endpoint: a failure is one line."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import UNIXServerEndpoint, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread

from nbdtun.errors import ConfigError
from nbdtun.ownership.listening import Listener
from nbdtun.service.local.listening import BothFamilies, ListeningService, LocalEndpoint


@ensureDeferred
async def test_a_port_that_is_taken() -> None:
    from twisted.internet import reactor

    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        with pytest.raises(ConfigError) as refused:
            await LocalEndpoint(serverFromString(reactor, text), text).listen(Factory.forProtocol(Protocol))
    assert str(refused.value) == f"{text}: Address already in use; `ss -ltnp` shows the process that listens there"


@ensureDeferred
async def test_a_socket_whose_directory_is_not_there(tmp_path: Path) -> None:
    """One that is nbdtun's own is made, whatever the umask: QEMU's user passes through it."""
    from twisted.internet import reactor

    path, factory = f"{tmp_path}/run/nbd.sock", Factory.forProtocol(Protocol)
    with pytest.raises(ConfigError) as refused:
        await LocalEndpoint(Listener(reactor, path, 0o600), f"unix:{path}").listen(factory)
    assert str(refused.value) == f"unix:{path}: No such file or directory; make its directory first"
    port = await LocalEndpoint(Listener(reactor, path, 0o600), f"unix:{path}", f"{tmp_path}/run").listen(factory)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o711
    await maybeDeferred(port.stopListening)


class Served(Protocol):
    """Tells by which address its peer has come, and closes."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(type(self.transport.getPeer()).__name__.encode())
        self.transport.loseConnection()


def peer_seen_from(family: socket.AddressFamily, address: str, port: int) -> bytes:
    with socket.socket(family) as sock:
        sock.settimeout(5)
        sock.connect((address, port))
        return sock.recv(100)


@ensureDeferred
async def test_a_port_serves_both_families() -> None:
    from twisted.internet import reactor

    port = await BothFamilies(reactor, 0, 50).listen(Factory.forProtocol(Served))
    number = port.getHost().port  # type: ignore[attr-defined]
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        assert await deferToThread(peer_seen_from, family, address, number)
    await maybeDeferred(port.stopListening)


@pytest.mark.parametrize("known", [False, True])
@ensureDeferred
async def test_without_ipv6_it_serves_the_other(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from twisted.internet import reactor

    real = BothFamilies._bound
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: known)

    def bound(self: BothFamilies, family: socket.AddressFamily) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EADDRNOTAVAIL, "no address")
        return real(self, family)

    monkeypatch.setattr(BothFamilies, "_bound", bound)
    port = await BothFamilies(reactor, 0, 50).listen(Factory.forProtocol(Served))
    number = port.getHost().port  # type: ignore[attr-defined]
    assert await deferToThread(peer_seen_from, socket.AF_INET, "127.0.0.1", number) == b"IPv4Address"
    await maybeDeferred(port.stopListening)


@ensureDeferred
async def test_a_port_of_both_families_that_is_taken_in_one() -> None:
    from twisted.internet import reactor

    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"tcp:{number}: Address already in use; `ss -ltnp`"):
            await LocalEndpoint(BothFamilies(reactor, number, 50), f"tcp:{number}").listen(Factory.forProtocol(Protocol))


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
