"""A monitor, and a server that does what the names of its commands say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import UNIXServerEndpoint

from nbdtun.migration.qmp.monitor import Monitor
from tests.migration.stage.qmp_server import QmpServer, Serving


def obey(server: QmpServer, message: dict[str, Any]) -> None:
    """Does what a command's name says."""
    command, ident = message.get("execute") or message.get("exec-oob"), message["id"]
    if command == "echo":
        server.send({"return": message.get("arguments", {}), "id": ident})
    elif command == "fail":
        server.send({"error": {"class": "DeviceNotFound", "desc": "no such thing"}, "id": ident})
    elif command == "insult":
        server.send({"error": {"class": "GenericError", "desc": "no\x1b]0;owned\x07\u202e\nnbdtun: all is well"}, "id": ident})
    elif command == "tell":
        server.send({"event": "STOP", "data": {"a": 1}, "timestamp": {"seconds": 1, "microseconds": 2}})
        server.send({"return": {}, "id": ident})
    elif command == "drop":
        server.transport.loseConnection()  # type: ignore[union-attr]
    elif command == "babble":
        server.transport.write(b"}{ no JSON\n")  # type: ignore[union-attr]
    elif command == "query-commands":
        server.send({"return": [{"name": "echo"}], "id": ident})


@asynccontextmanager
async def serve(path: str, answer: Callable[[QmpServer, dict[str, Any]], None] = obey, greet: bool = True) -> AsyncIterator[Serving]:
    factory = Serving(answer, greet)
    port = await UNIXServerEndpoint(reactor, path).listen(factory)
    try:
        yield factory
    finally:
        await port.stopListening()
        for connection in factory.connections:
            connection.transport.abortConnection()  # type: ignore[union-attr]


@asynccontextmanager
async def connected(path: str, **options: Any) -> AsyncIterator[tuple[Monitor, QmpServer]]:
    async with serve(path) as factory:
        monitor = Monitor(reactor, path, "web1", **options)
        assert repr(monitor) == f"<Monitor web1 {path} new>"
        await monitor.connect()
        try:
            yield monitor, factory.connections[0]
        finally:
            await monitor.close()
