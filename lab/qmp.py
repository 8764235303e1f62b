"""A small blocking QMP client for the lab's own questions.

It shares no code with the product, on purpose: who checks the product's work
must not be mistaken in the same way.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any


class QmpError(Exception):
    """QEMU refused a command; says which, and its reason."""


class Qmp:
    """One QMP connection; events are kept until somebody waits for them."""

    def __init__(self, path: Path, timeout: float = 30) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._socket.connect(f"{path}")
        self._timeout = timeout
        self._buffer = b""
        self.events: list[dict[str, Any]] = []
        self._read(timeout)  # the greeting
        self("qmp_capabilities")

    def hand(self, name: str, descriptor: int) -> None:
        """Hand QEMU an open file, which it knows by `name` from then on."""
        request = {"execute": "getfd", "arguments": {"fdname": name}}
        socket.send_fds(self._socket, [json.dumps(request).encode() + b"\n"], [descriptor])
        self._answer("getfd")

    def __call__(self, command: str, /, **arguments: Any) -> Any:
        """Execute a command; underscores in the names of arguments mean dashes."""
        dashed = {name.replace("_", "-"): value for name, value in arguments.items()}
        request = {"execute": command, "arguments": dashed}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        return self._answer(command)

    def _answer(self, command: str) -> Any:
        while True:
            answer = self._read(self._timeout)
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise QmpError(f"{command}: {answer['error']['desc']}")
            elif "return" in answer:
                return answer["return"]
            # else the greeting once more: QEMU gives it twice to whoever connects while it still sets its monitor up

    def wait_event(self, name: str, timeout: float = 60, **data: Any) -> dict[str, Any]:
        """The first event of a name whose data agree; it is taken from `events`."""
        end = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event["event"] == name and data.items() <= event.get("data", {}).items():
                    self.events.remove(event)
                    return event
            self.events.append(self._read(max(0.01, end - time.monotonic())))

    def close(self) -> None:
        self._socket.close()

    def _read(self, timeout: float) -> dict[str, Any]:
        self._socket.settimeout(timeout)
        while b"\n" not in self._buffer:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError("QEMU closed the monitor")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message
