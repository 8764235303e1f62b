"""What sockets say first: a QMP monitor in either of its forms, and others that are taken for one."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import pytest_twisted
from qemu.qmp import Message
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from nbdtun.errors import MonitorError, MonitorLost
from nbdtun.migration.qmp import greeting
from nbdtun.migration.qmp import monitor as module
from nbdtun.migration.qmp.monitor import Monitor

PRETTY = b"""{\r
    "QMP": {\r
        "version": {\r
            "qemu": {"micro": 22, "minor": 2, "major": 7},\r
            "package": ""\r
        },\r
        "capabilities": [\r
        ]\r
    }\r
}\r
"""
DONE = b'{\r\n    "return": {\r\n    }\r\n}\r\n'


class Says(Protocol):
    """Says one thing to whoever comes, and answers each command with the next of ``then``, in which IDENT is the command's id."""

    def __init__(self, first: bytes, then: list[bytes]) -> None:
        self.first, self.then = first, then

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.first)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if self.then:
            ident = json.loads(data).get("id", "")
            self.transport.write(self.then.pop(0).replace(b"IDENT", ident.encode()))


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="nt-") as directory:
        yield f"{directory}/qmp"


@asynccontextmanager
async def saying(path: str, first: bytes, *then: bytes) -> AsyncIterator[Monitor]:
    left = list(then)
    port = await UNIXServerEndpoint(reactor, path).listen(Factory.forProtocol(lambda: Says(first, left)))
    monitor = Monitor(reactor, path, "web1")
    try:
        yield monitor
    finally:
        await monitor.close()
        await port.stopListening()


@pytest.mark.parametrize(
    ("first", "what"),
    [
        (b"QEMU 7.2.22 monitor - type 'help' for more information\r\n(qemu) ", "it is a monitor for humans (-monitor)"),
        (b"RFB 003.008\n", "it is a VNC display"),
        (b"NBDMAGICIHAVEOPT\0\3", "it is an NBD server"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it is an SSH server"),
        (b"debian login: \x1b[0m", "it begins with 'debian login: \\x1b[0m'"),
        (b"x" * 1000, f"it begins with '{'x' * 32}'"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_monitor_is_named_at_once(path: str, first: bytes, what: str) -> None:
    async with saying(path, first) as monitor:
        with pytest.raises(MonitorError) as caught:
            await monitor.connect()
        assert str(caught.value) == f"{path}: {what}, not a QMP monitor; give the path of a -qmp socket"


@pytest_twisted.ensureDeferred
async def test_a_pretty_monitor_is_one_too(path: str) -> None:
    answer = b'{\r\n    "return": {\r\n        "status": "running"\r\n    },\r\n    "id": "IDENT"\r\n}\r\n'
    event = b'{\r\n    "event": "STOP",\r\n    "timestamp": {\r\n        "seconds": 1,\r\n        "microseconds": 2\r\n    }\r\n}\r\n'
    async with saying(path, PRETTY, DONE, event + answer) as monitor:
        await monitor.connect()
        with monitor.listen("STOP") as events:
            assert await monitor.execute("query-status") == {"status": "running"}
            assert (await events.next(5)).name == "STOP"


@pytest.mark.parametrize("wanted", [False, True])
@pytest_twisted.ensureDeferred
async def test_messages_are_written_out_for_a_log_that_is_read(path: str, wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Message] = []
    monkeypatch.setattr(Message, "__str__", lambda message: repr([written.append(message)]))  # type: ignore[func-returns-value]
    log = logging.getLogger("nbdtun.qmp")
    log.setLevel(logging.DEBUG if wanted else logging.NOTSET)
    try:
        async with saying(path, PRETTY, DONE, b'{"return": {"status": "running"}, "id": "IDENT"}\r\n') as monitor:
            await monitor.connect()
            assert await monitor.execute("query-status") == {"status": "running"}
    finally:
        log.setLevel(logging.NOTSET)
    assert bool(written) == wanted


@pytest_twisted.ensureDeferred
async def test_a_pretty_message_without_an_end_is_a_loss(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(greeting, "MAX_MESSAGE", 1000)
    async with saying(path, PRETTY, DONE, b"{\r\n" + b'    "a": 1,\r\n' * 100) as monitor:
        await monitor.connect()
        lost: Deferred[MonitorLost] = monitor.when_lost()
        with pytest.raises(MonitorLost):
            await monitor.execute("query-status")
        await lost


@pytest_twisted.ensureDeferred
async def test_silence_is_a_monitor_that_is_held(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GREETING_SECONDS", 0.05)
    monkeypatch.setattr(module, "HELD_SECONDS", 0.02)
    async with saying(path, b"") as monitor:
        with pytest.raises(MonitorError, match="no QMP greeting; another client holds it"):
            await monitor.connect()
