"""A line of some length: a TCP relay that holds all bytes for half a round trip, at a rate, each way.

    python line.py LISTEN-PORT FORWARD-PORT ROUND-TRIP-MS BYTES-PER-SECOND

Linux can do that in the kernel (netem), where one may load it; this needs nothing.
Each direction has two threads: one reads and works out when each piece would have
left a line of this rate and crossed it, the other writes it then. The reader is at
most `AHEAD` before the line, and so the sender feels the rate; what is under way is
the rate times the delay, as on a real line.

What it does not show is TCP itself over a distance: its windows, its slow start,
its losses. Each of the two connections is on the loopback.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

CHUNK = 64 * 1024
AHEAD = 0.004
"""Seconds."""
SLACK = 4 << 20
"""Bytes that may wait for a receiver that does not take them."""
RECEIVE_BUFFER = 256 * 1024
"""A line has no large buffer before it: what waits, waits at the sender."""
HOST = "127.0.0.1"


class Way:
    """One direction of the line, which all connections share."""

    def __init__(self, delay: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._delay, self._rate, self._clock = delay, rate, clock
        self._free_at = 0.0
        self._lock = threading.Lock()

    @property
    def most(self) -> int:
        """Bytes that are under way at most, or wait behind the line's end."""
        return int(self._rate * (self._delay + AHEAD)) + SLACK

    def enter(self, count: int) -> tuple[float, float]:
        """Put a piece on the line: when its last byte arrives, and until when no other should be read."""
        with self._lock:
            self._free_at = max(self._free_at, self._clock()) + count / self._rate
            return self._free_at + self._delay, self._free_at - AHEAD


class Pipe:
    """One direction of one connection."""

    def __init__(self, way: Way, source: socket.socket, sink: socket.socket) -> None:
        self._way, self._source, self._sink = way, source, sink
        self._pieces: SimpleQueue[tuple[float, bytes]] = SimpleQueue()
        self._read = self._written = 0  # by one thread each
        for job in (self._reading, self._writing):
            threading.Thread(target=job, daemon=True).start()

    def _reading(self) -> None:
        piece = b"-"
        while piece:
            try:
                piece = self._source.recv(CHUNK)
            except OSError:
                piece = b""
            arrives, next_at = self._way.enter(len(piece))
            self._read += len(piece)
            self._pieces.put((arrives, piece))
            pause_until(next_at)
            while self._read - self._written > self._way.most:
                time.sleep(0.001)

    def _writing(self) -> None:
        with suppress(OSError):
            while True:
                arrives, piece = self._pieces.get()
                pause_until(arrives)
                if not piece:
                    self._sink.shutdown(socket.SHUT_WR)
                    return
                self._sink.sendall(piece)
                self._written += len(piece)
        self._source.close()  # the receiver is gone


def pause_until(moment: float) -> None:
    """Return at once if it has passed."""
    if (left := moment - time.monotonic()) > 0:
        time.sleep(left)


def main(listen: int, forward: int, delay: float, rate: float) -> None:
    there, back = Way(delay, rate), Way(delay, rate)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        listener.bind((HOST, listen))
        listener.listen(128)
        while True:
            client, _ = listener.accept()
            server = socket.socket()
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
            server.connect((HOST, forward))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            Pipe(there, client, server)
            Pipe(back, server, client)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 2000, float(sys.argv[4]))
