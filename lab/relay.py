"""The process behind `cable.py`: a TCP relay that misbehaves on command.

    python -m lab.relay CONTROL-SOCKET LISTEN-PORT:FORWARD-PORT...

Several ports share one cable: its rate, and what befalls it. While nobody listens at a forward port, its listen port refuses as well.
One thread and one selector, so that a command takes effect between two chunks and never within one. Commands are JSON lines on the control
socket: a method's name and its arguments; each is answered by a line with the relay's counters.
"""

from __future__ import annotations

import contextlib
import functools
import json
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO

from lab.daemon import listening

CHUNK = 1 << 20
FAIR = 1 << 18
"""The most that one connection passes before it is another one's turn, where the rate is limited."""
HOST = "127.0.0.1"
_RST_ON_CLOSE = struct.pack("ii", 1, 0)
LATE = 0.02
"""Seconds that the line makes up for where a rate is limited: on a busy machine this process is woken late, and no line is."""
LOOK = 0.05
"""Seconds between two looks whether somebody listens again."""


@dataclass
class Direction:
    """What all bytes that go one way have in common."""

    stalled: bool = False
    rate: float = 0
    """Bytes a second; 0 is as fast as it goes."""
    chunk: int = CHUNK
    budget: int | None = None
    """The bytes that still pass before the cable is cut."""
    passed: int = 0
    free_at: float = 0
    """When the bytes that have passed are through, at this rate."""

    def limit(self) -> int:
        """How many bytes may pass at once: smooth when slow, exact before a cut."""
        slow = min(FAIR, max(1, int(self.rate / 20))) if self.rate else CHUNK
        return min(self.chunk, slow, CHUNK if self.budget is None else self.budget)

    def account(self, count: int) -> None:
        self.passed += count
        if self.budget is not None:
            self.budget -= count
        if self.rate:
            self.free_at = max(time.monotonic() - LATE, self.free_at) + count / self.rate

    def plug(self) -> None:
        """As a good cable is."""
        self.stalled, self.rate, self.chunk, self.budget, self.free_at = False, 0, CHUNK, None, 0


@dataclass(eq=False)
class Pipe:
    """One direction of one connection."""

    source: socket.socket
    sink: socket.socket
    direction: Direction
    buffer: bytearray = field(default_factory=lambda: bytearray(CHUNK))
    pending: memoryview = field(default_factory=lambda: memoryview(b""))
    ended: bool = False

    def ready(self, lingering: bool) -> bool:
        """Whether bytes may pass now."""
        held = lingering or self.direction.stalled or self.ended
        return not held and self.direction.free_at <= time.monotonic()

    def step(self) -> int:
        """Pass one chunk on; the bytes that have passed. Raises OSError when either end is gone."""
        sent = 0
        with contextlib.suppress(BlockingIOError):
            if not self.pending:
                self._receive()
            if self.pending:
                sent = self.sink.send(self.pending[: self.direction.limit()])
                self.pending = self.pending[sent:]
                self.direction.account(sent)
        return sent

    def _receive(self) -> None:
        count = self.source.recv_into(self.buffer, self.direction.limit())
        self.pending = memoryview(self.buffer)[:count]
        if count == 0:
            self.ended = True
            self.sink.shutdown(socket.SHUT_WR)


class Wire:
    """One relayed connection."""

    def __init__(self, client: socket.socket, server: socket.socket, relay: Relay) -> None:
        self._relay = relay
        self._ends = (client, server)
        self._pipes = (Pipe(client, server, relay.up), Pipe(server, client, relay.down))
        self.lingering = False
        self.passed_at = 0.0
        for end in self._ends:
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.refresh()

    def refresh(self) -> None:
        """Watch for what may happen, and for nothing else: a stalled end's death goes unseen."""
        for end in self._ends:
            mask = 0
            for pipe in self._pipes:
                if pipe.ready(self.lingering):
                    mask |= selectors.EVENT_WRITE if pipe.pending and pipe.sink is end else 0
                    mask |= selectors.EVENT_READ if not pipe.pending and pipe.source is end else 0
            self._relay.watch(end, mask, self._step)

    def _step(self) -> None:
        try:
            for pipe in self._pipes:
                if pipe.ready(self.lingering) and pipe.step():
                    self.passed_at = time.monotonic()
        except OSError:
            self.cut()
            return
        if all(pipe.ended for pipe in self._pipes):
            self._close()
        elif any(pipe.direction.budget == 0 for pipe in self._pipes):
            self._relay.cut()
        else:
            self.refresh()

    def cut(self) -> None:
        """End it at both ends with RST: what is under way is lost."""
        for end in self._ends:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self._close()

    def _close(self) -> None:
        for end in self._ends:
            self._relay.watch(end, 0, self._step)
            end.close()
        self._relay.wires.discard(self)


class Relay:
    """The listeners, their wires, and the commands."""

    def __init__(self, control: str, forwards: dict[int, int]) -> None:
        self._forwards = forwards
        self._selector = selectors.DefaultSelector()
        self._listeners: dict[int, socket.socket] = {}
        self._refused_until = 0.0
        self._deserted: set[int] = set()
        self._accepted = 0
        self.wires: set[Wire] = set()
        self.up, self.down = Direction(), Direction()
        self._listen()
        server = socket.socket(socket.AF_UNIX)
        server.bind(control)
        server.listen()
        self.watch(server, selectors.EVENT_READ, lambda: self._controlled(server.accept()[0]))

    # -- commands --

    def plug(self) -> None:
        """All is well again; connections that lingered are alive again too."""
        self.up.plug()
        self.down.plug()
        self._refused_until = 0
        for wire in self.wires:
            wire.lingering = False
        self._listen()

    def cut(self) -> None:
        for wire in list(self.wires):
            wire.cut()
        self.up.budget = self.down.budget = None

    def cut_after(self, count: int, direction: str) -> None:
        for way in self._ways(direction):
            way.budget = count

    def stall(self, direction: str) -> None:
        for way in self._ways(direction):
            way.stalled = True

    def slow(self, rate: float, direction: str) -> None:
        for way in self._ways(direction):
            way.rate = rate

    def trickle(self, direction: str) -> None:
        for way in self._ways(direction):
            way.chunk = 1

    def refuse(self, seconds: float | None) -> None:
        self._refused_until = time.monotonic() + seconds if seconds else float("inf")
        for port in tuple(self._listeners):
            self._close_up(port)

    def _close_up(self, port: int) -> None:
        listener = self._listeners.pop(port)
        self.watch(listener, 0, lambda: None)
        listener.close()

    def linger(self) -> None:
        for wire in self.wires:
            wire.lingering = True

    def count(self) -> None:
        """Nothing; its answer is the counters."""

    # -- the loop --

    def run(self) -> None:
        while True:
            nap = self._nap()  # before the refresh, which then sees what becomes ready in between
            if self.up.rate or self.down.rate:
                self._refresh()
            for key, _ in self._selector.select(nap):
                if self._watched(key):  # not closed by the one before
                    key.data()
            if len(self._listeners) < len(self._forwards) and time.monotonic() >= self._refused_until:
                self._listen()

    def _watched(self, key: selectors.SelectorKey) -> bool:
        known = self._selector.get_map().get(key.fd)
        return known is not None and known.fileobj is key.fileobj

    def watch(self, end: socket.socket, mask: int, event: Callable[[], None]) -> None:
        """Call when a socket can be read or written; mask 0 for no more."""
        known = end in self._selector.get_map()
        if known and mask:
            if self._selector.get_key(end).events != mask:
                self._selector.modify(end, mask, event)
        elif known:
            self._selector.unregister(end)
        elif mask:
            self._selector.register(end, mask, event)

    def _nap(self) -> float | None:
        """Until when nothing can happen but what the selector sees."""
        dates = [way.free_at for way in (self.up, self.down) if way.rate]
        dates += [] if self._listeners else [self._refused_until]
        dates += [time.monotonic() + LOOK] if self._deserted else []
        now = time.monotonic()
        later = [date - now for date in dates if now < date < float("inf")]
        return min(later, default=None)

    def _refresh(self) -> None:
        """Those that have passed nothing for longest come first: epoll reports them in the order in which they are watched."""
        for wire in sorted(self.wires, key=lambda wire: wire.passed_at):
            wire.refresh()

    def _ways(self, direction: str) -> list[Direction]:
        return {"up": [self.up], "down": [self.down], "both": [self.up, self.down]}[direction]

    def _listen(self) -> None:
        self._deserted = {port for port in self._deserted if not listening(self._forwards[port])}
        for port in self._forwards.keys() - self._listeners.keys() - self._deserted:
            self._listeners[port] = listener = socket.create_server((HOST, port), backlog=128)
            self.watch(listener, selectors.EVENT_READ, functools.partial(self._accept, port))

    def _accept(self, port: int) -> None:
        client, _ = self._listeners[port].accept()
        self._accepted += 1
        try:
            server = socket.create_connection((HOST, self._forwards[port]), timeout=5)
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            client.close()
            self._deserted.add(port)
            self._close_up(port)
        else:
            self.wires.add(Wire(client, server, self))

    def _controlled(self, control: socket.socket) -> None:
        lines = control.makefile("rw")
        self.watch(control, selectors.EVENT_READ, lambda: self._obey(control, lines))

    def _obey(self, control: socket.socket, lines: TextIO) -> None:
        line = lines.readline()
        if not line:
            self.watch(control, 0, lambda: None)
            control.close()
            return
        name, arguments = json.loads(line)
        getattr(self, name)(**arguments)
        self._refresh()
        counters = (self.up.passed, self.down.passed, len(self.wires), self._accepted)
        lines.write(json.dumps(counters) + "\n")
        lines.flush()


if __name__ == "__main__":
    pairs = (pair.split(":") for pair in sys.argv[2:])
    Relay(sys.argv[1], {int(listen): int(forward) for listen, forward in pairs}).run()
