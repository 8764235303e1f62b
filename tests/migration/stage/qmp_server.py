"""A QMP server for what a real QEMU is seldom seen to do: a UNIX socket that greets, or does not, and answers as it is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.protocol import Factory, Protocol

GREETING = {"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 2}, "package": ""}, "capabilities": ["oob"]}}


class QmpServer(Protocol):
    """QMP messages are JSON values one after the other, with nothing between them; so a stream is decoded."""

    def __init__(self, answer: Callable[[QmpServer, dict[str, Any]], None], greet: bool = True) -> None:
        self.answer = answer
        self.greet = greet
        self.text = ""
        self.commands: list[dict[str, Any]] = []

    def connectionMade(self) -> None:
        if self.greet:
            self.send(GREETING)

    def send(self, message: dict[str, Any]) -> None:
        assert self.transport is not None
        self.transport.write(json.dumps(message).encode() + b"\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.text += data.decode()
        while self.text.strip():
            try:
                message, end = json.JSONDecoder().raw_decode(self.text.lstrip())
            except ValueError:
                return  # not whole yet
            self.text = self.text.lstrip()[end:]
            self.commands.append(message)
            if message.get("execute") == "qmp_capabilities":
                self.send({"return": {}, "id": message.get("id")} if "id" in message else {"return": {}})
            else:
                self.answer(self, message)


class Serving(Factory):
    """Serves with ``answer``; ``connections`` are the protocols that there were."""

    def __init__(self, answer: Callable[[QmpServer, dict[str, Any]], None], greet: bool = True) -> None:
        self.answer = answer
        self.greet = greet
        self.connections: list[QmpServer] = []

    def buildProtocol(self, _: object) -> QmpServer:
        self.connections.append(QmpServer(self.answer, self.greet))
        return self.connections[-1]
