"""The programs at the outer sides of a tunnel, and the target that has one for each connection."""

from __future__ import annotations

import socket

from twisted.internet.task import deferLater

from nbdtun.errors import TargetUnreachable, TunnelError
from tests.tunnel.stage.crank import Crank
from tests.tunnel.stage.sockets import pair


class Program:
    """A local program at one end: it sends, reads, stops reading, half-closes and closes as told."""

    def __init__(self, crank: Crank, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.to_send = bytearray()
        self.sent = 0
        self.got = bytearray()
        self.reads = True
        self.got_end = False
        self.gone: OSError | None = None
        self._shut_when_sent = False
        self._crank = crank
        crank.movers.append(self._move)

    def send(self, data: bytes) -> Program:
        self.to_send += data
        return self

    def shut(self) -> None:
        """Half-close when all is sent."""
        self._shut_when_sent = True

    def close(self) -> None:
        if self._move in self._crank.movers:
            self._crank.movers.remove(self._move)
        self.sock.close()

    def take(self, count: int) -> bytes:
        """Read ``count`` bytes, whatever ``reads`` says."""
        data = self.sock.recv(count)
        self.got += data
        return data

    def _move(self) -> bool:
        moved = self._write()
        while self.reads and not self.got_end and self.gone is None:
            try:
                data = self.sock.recv(1 << 20)
            except BlockingIOError:
                break
            except OSError as broken:
                self.gone = broken
                return True
            self.got += data
            self.got_end = not data
            moved = True
        return moved

    def _write(self) -> bool:
        moved = False
        try:
            while self.to_send:
                count = self.sock.send(memoryview(self.to_send)[: 1 << 20])
                del self.to_send[:count]
                self.sent += count
                moved = True
            if self._shut_when_sent:
                self._shut_when_sent = False
                self.sock.shutdown(socket.SHUT_WR)
                return True
        except BlockingIOError:
            pass
        except OSError as broken:
            self.to_send.clear()
            self._shut_when_sent = False
            self.gone = broken
        return moved


class Far:
    """A target: each connection to it is a program."""

    def __init__(self, crank: Crank) -> None:
        self._crank = crank
        self.programs: list[Program] = []
        self.refusal: TunnelError | None = None
        self.delay = 0.0

    async def connect(self, name: str) -> socket.socket:
        if self.delay:
            await deferLater(self._crank, self.delay)
        if self.refusal is not None:
            raise self.refusal.again()
        ours, theirs = pair()
        self.programs.append(Program(self._crank, theirs))
        return ours

    def refuse(self, text: str) -> None:
        self.refusal = TargetUnreachable(text)
