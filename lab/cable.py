"""The cable between the two daemons, which can be pulled, stalled and slowed.

A relay in a process of its own (`relay.py`). *Up* is from who connects to who
listens, *down* the other way. What is set holds for the connections of now and
those to come, until `plug()`; `cut()` and `linger()` concern those of now only.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from lab.cache import LAB
from lab.daemon import free_port
from lab.process import Process, wait

Way = Literal["up", "down", "both"]


@dataclass(frozen=True)
class Counters:
    """What the cable has seen."""

    up: int
    """Bytes passed from who connects to who listens."""
    down: int
    connections: int
    """Those that are open now."""
    accepted: int
    """All that there ever were."""


class Cable(Process):
    """Listens on `port` and passes everything on to another port of the loopback; and on `ports`, where it leads to several."""

    def __init__(self, directory: Path, *forwards: int, port: int = 0) -> None:
        self.ports = [port or free_port(), *(free_port() for _ in forwards[1:])]
        self.port = self.ports[0]
        control = directory / f"cable-{self.port}"
        ways = [f"{listen}:{forward}" for listen, forward in zip(self.ports, forwards, strict=True)]
        command: list[str | Path] = [sys.executable, "-m", "lab.relay", control, *ways]
        super().__init__(command, directory / f"cable-{self.port}.log", {"PYTHONPATH": f"{LAB.parent}"})
        self._control, self._turn = socket.socket(socket.AF_UNIX), threading.Lock()
        self._control.settimeout(30)
        wait(lambda: self._connect(control), 10, "the cable's control", self)

    def _connect(self, control: Path) -> bool:
        if self._control.connect_ex(f"{control}") != 0:
            return False
        self._lines = self._control.makefile("rw")
        return True

    def plug(self) -> None:
        """All is well again; connections that lingered go on too."""
        self._do("plug")

    def cut(self) -> None:
        """End every connection with RST; new ones pass."""
        self._do("cut")

    def cut_after(self, count: int, way: Way = "both") -> None:
        """Cut when so many more bytes have passed (each way, if both)."""
        self._do("cut_after", count=count, direction=way)

    def stall(self, way: Way = "both") -> None:
        """Nothing passes, nothing is closed; TCP itself sees no fault."""
        self._do("stall", direction=way)

    def slow(self, rate: float, way: Way = "both") -> None:
        """So many bytes a second, all connections together."""
        self._do("slow", rate=rate, direction=way)

    def trickle(self, way: Way = "both") -> None:
        """One byte at a time."""
        self._do("trickle", direction=way)

    def refuse(self, seconds: float | None = None) -> None:
        """New connections are refused, for a while or until `plug()`; the open ones stay."""
        self._do("refuse", seconds=seconds)

    def pull(self, seconds: float | None = None) -> None:
        """Cut, and refuse for a while: the cable is out of its socket."""
        self.refuse(seconds)
        self.cut()

    def linger(self) -> None:
        """The connections of now pass nothing more but stay open; new ones pass."""
        self._do("linger")

    def counters(self) -> Counters:
        return self._do("count")

    def wait_bytes(self, count: int, timeout: float = 60) -> Counters:
        """Wait until so many more bytes have passed, both ways together."""
        before = self.counters()
        end = time.monotonic() + timeout
        while (now := self.counters()).up + now.down < before.up + before.down + count:
            if time.monotonic() > end:
                raise TimeoutError(f"{count} bytes have not passed the cable in {timeout} s")
            time.sleep(0.005)
        return now

    def _do(self, command: str, **arguments: Any) -> Counters:
        with self._turn:  # threads may share it
            self._lines.write(json.dumps([command, arguments]) + "\n")
            self._lines.flush()
            return Counters(*json.loads(self._lines.readline()))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._lines.close()
        self._control.close()
