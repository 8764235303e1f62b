"""Targets: what is not listed does not exist, and what cannot be reached is told in the operating system's words."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory, Protocol

from nbdtun.errors import ShuttingDown, TargetUnknown, TargetUnreachable
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.targets import ClosedTarget, EndpointTarget, LocalTarget, Targets
from tests.powers import ordinary
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.sockets import open_sockets, pair

NOBODY = Caller("a local peer", "local")


def at(endpoint: str) -> EndpointTarget:
    from twisted.internet import reactor

    return EndpointTarget(clientFromString(reactor, endpoint), endpoint)


class TestTheList:
    def test_what_is_listed_is_found(self) -> None:
        targets = Targets()
        target = at("unix:/run/qemu/nbd.sock")
        targets.add("nbd", target)
        assert targets.find("nbd", NOBODY) is target
        targets.remove("nbd")
        targets.remove("nbd")
        with pytest.raises(TargetUnknown, match=r"^the destination has no target 'nbd'$"):
            targets.find("nbd", NOBODY)

    @pytest.mark.parametrize("name", ["", "NBD", "nbd ", "../nbd", "unix:/run/qemu/nbd.sock", "x" * 10_000])
    def test_nothing_else_is(self, name: str) -> None:
        targets = Targets()
        targets.add("nbd", at("unix:/run/qemu/nbd.sock"))
        with pytest.raises(TargetUnknown) as refused:
            targets.find(name, NOBODY)
        assert len(str(refused.value)) < 200


class TestClosed:
    @ensureDeferred
    async def test_a_daemon_that_shuts_down_says_so(self) -> None:
        with pytest.raises(
            ShuttingDown, match=r"^target nbd: the destination's daemon is shutting down; try again when it has been restarted$"
        ):
            await ClosedTarget().connect("nbd")


class TestReaching:
    @ensureDeferred
    async def test_a_socket_that_listens(self, tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(f"{tmp_path}/nbd.sock")
            listening.listen()
            sock = await at(f"unix:{tmp_path}/nbd.sock").connect("nbd")
            theirs, _ = listening.accept()
        theirs.sendall(b"hello")
        assert sock.recv(5) == b"hello"
        assert not os.get_inheritable(sock.fileno())
        sock.close()
        theirs.close()

    @ensureDeferred
    async def test_a_socket_that_is_not_there(self) -> None:
        with pytest.raises(TargetUnreachable) as refused:
            await at("unix:/run/nowhere/nbd.sock").connect("nbd")
        assert str(refused.value) == "target nbd: unix:/run/nowhere/nbd.sock: No such file or directory"

    @ensureDeferred
    async def test_a_socket_on_which_nobody_listens(self, tmp_path: Path) -> None:
        path = f"{tmp_path}/nbd.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        with pytest.raises(TargetUnreachable) as refused:
            await at(f"unix:{path}").connect("nbd")
        assert str(refused.value) == f"target nbd: unix:{path}: Connection refused"

    @ensureDeferred
    async def test_a_port_on_which_nobody_listens(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            with pytest.raises(TargetUnreachable) as refused:
                await at(f"tcp:127.0.0.1:{port}").connect("nbd")
        assert str(refused.value) == f"target nbd: tcp:127.0.0.1:{port}: Connection refused"

    @ensureDeferred
    async def test_a_socket_that_is_forbidden(self, tmp_path: Path) -> None:
        path = f"{tmp_path}/nbd.sock"
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen()
            os.chmod(path, 0)
            with ordinary(), pytest.raises(TargetUnreachable) as refused:
                await at(f"unix:{path}").connect("nbd")
        assert str(refused.value) == f"target nbd: unix:{path}: Permission denied"


class TestLocal:
    @pytest.mark.parametrize("where", ["socket.socketpair", "nbdtun.tunnel.destination.targets.adopt"])
    @ensureDeferred
    async def test_without_descriptors_it_cannot_be_reached(self, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: object) -> None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        monkeypatch.setattr("socket.socketpair", pair)
        monkeypatch.setattr(where, fails)
        before = open_sockets()
        with pytest.raises(TargetUnreachable) as refused:
            await LocalTarget(Crank(), Factory()).connect("control")
        assert refused.value.line == "target control: Too many open files [target-unreachable]"
        assert open_sockets() == before

    @ensureDeferred
    async def test_a_protocol_in_this_process(self) -> None:
        from twisted.internet import reactor

        class Echo(Protocol):
            def dataReceived(self, data: bytes) -> None:
                assert self.transport is not None
                self.transport.write(data.upper())
                self.transport.loseConnection()

            def connectionLost(self, reason: object = None) -> None:
                gone.callback(None)

        gone: Deferred[None] = Deferred()
        factory = Factory.forProtocol(Echo)
        factory.noisy = False
        sock = await LocalTarget(reactor, factory).connect("control")
        sock.sendall(b"hello")
        await gone
        assert sock.recv(100) == b"HELLO"
        assert sock.recv(100) == b""
        sock.close()
