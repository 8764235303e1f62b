"""
A stage for both ends of a tunnel, in one process and at one's own pace: real sockets, but a clock and a reactor that only move when told.

    local program -- Source -- cable -- Destination -- local program

Nothing here sleeps, so the same steps always give the same play.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import txaio
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IReactorFDSet, IReactorTime, IStreamClientEndpoint
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from nbdtun.errors import TargetUnreachable, TunnelError
from nbdtun.tunnel import tls
from nbdtun.tunnel.channel import Channel
from nbdtun.tunnel.destination import Destination
from nbdtun.tunnel.dialer import Dialer
from nbdtun.tunnel.frames import HEADER, Kind
from nbdtun.tunnel.runtime import Runtime, Terms
from nbdtun.tunnel.slab import Slab, SlabPool
from nbdtun.tunnel.source import Entrance, Source
from nbdtun.tunnel.targets import Targets

#: Turns after which a stage that still moves is taken for one that never rests.
RESTLESS = 20_000


@implementer(IReactorTime, IReactorFDSet)
class Crank(Clock):
    """A reactor that turns when it is cranked, and tells descriptors what Twisted's poll reactor would, hang-ups included."""

    def __init__(self) -> None:
        super().__init__()
        self._readers: dict[int, Any] = {}
        self._writers: dict[int, Any] = {}
        self.movers: list[Callable[[], bool]] = []  # programs and cables: each says whether it has moved anything

    def addReader(self, reader: Any) -> None:
        self._readers[reader.fileno()] = reader

    def addWriter(self, writer: Any) -> None:
        self._writers[writer.fileno()] = writer

    def removeReader(self, reader: Any) -> None:
        self._readers = {fd: each for fd, each in self._readers.items() if each is not reader}

    def removeWriter(self, writer: Any) -> None:
        self._writers = {fd: each for fd, each in self._writers.items() if each is not writer}

    @property
    def reactor(self) -> Crank:
        """It is its own watch, too: what the wires do is the same with any."""
        return self

    def read_again(self, reader: Any) -> None:
        self.callLater(0, lambda: reader.doRead() if reader in self._readers.values() else None)

    def removeAll(self) -> list[Any]:
        raise NotImplementedError

    def getReaders(self) -> list[Any]:
        return list(self._readers.values())

    def getWriters(self) -> list[Any]:
        return list(self._writers.values())

    def turn(self) -> bool:
        """Do what is due now, once; say whether there was anything."""
        due = bool(self.calls) and self.calls[0].getTime() <= self.seconds()
        self.advance(0)
        moved = [mover() for mover in tuple(self.movers)]
        return self._poll() or any(moved) or due

    def rest(self) -> None:
        """Turn until nothing moves any more."""
        for _ in range(RESTLESS):
            if not self.turn():
                return
        raise AssertionError(f"no rest: {self._readers} {self._writers} {self.calls}")

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        """Let time pass, and all that happens meanwhile."""
        end = self.seconds() + seconds
        while self.seconds() < end:
            self.rest()
            due = min((call.getTime() for call in self.calls), default=end)
            self.advance(max(0.0, min(end, max(due, self.seconds() + step)) - self.seconds()))
        self.rest()

    def _poll(self) -> bool:
        poll = select.poll()
        for fd in {*self._readers, *self._writers}:
            poll.register(fd, (select.POLLIN if fd in self._readers else 0) | (select.POLLOUT if fd in self._writers else 0))
        ready = poll.poll(0)
        for fd, event in ready:
            selectable = self._readers.get(fd) or self._writers.get(fd)
            if selectable is not None:
                self._dispatch(fd, selectable, event)
        return bool(ready)

    def _dispatch(self, fd: int, selectable: Any, event: int) -> None:
        # As _doReadOrWrite in twisted.internet.posixbase: a write follows even where the read has closed the descriptor.
        if event & (select.POLLHUP | select.POLLERR | select.POLLNVAL) and not event & select.POLLIN:
            was_reading = fd in self._readers
            self.removeReader(selectable)
            self.removeWriter(selectable)
            selectable.connectionLost(Failure(CONNECTION_DONE if was_reading else CONNECTION_LOST))
            return
        why = selectable.doRead() if event & select.POLLIN else None
        if not why and event & select.POLLOUT:
            why = selectable.doWrite()
        assert why is None


class CountingPool(SlabPool):
    """Knows how many slabs are lent, and the most that ever were."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.lent = self.most = 0

    def take(self) -> Slab:
        self.lent += 1
        self.most = max(self.most, self.lent)
        return super().take()

    def give(self, slab: Slab) -> None:
        assert all(slab is not free for free in self._free), "a slab was given back twice"
        self.lent -= 1
        super().give(slab)


class Handle:
    """As much of one of Twisted's transports as is asked of them."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def getHandle(self) -> socket.socket:
        return self._sock

    def pauseProducing(self) -> None:
        """It was never watched."""


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


class Flow:
    """One direction of a line."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.held = bytearray()
        self.carried = 0
        self.stalled = False
        self.chunk = 1 << 20
        self.ended = self.sink_ended = False

    def move(self, most: int) -> bool:
        if self.stalled:
            return False
        moved = self._fetch(min(self.chunk, most) - len(self.held))
        if self.held:
            moved = self._hand_on() or moved
        elif self.ended and not self.sink_ended:
            self.sink_ended = moved = True
            with contextlib.suppress(OSError):
                self.sink.shutdown(socket.SHUT_WR)
        return moved

    def _fetch(self, most: int) -> bool:
        if most <= 0 or self.ended:
            return False
        try:
            data = self.source.recv(most)
        except BlockingIOError:
            return False
        except OSError:  # closed with our bytes unread, like TCP's reset
            data = b""
        self.held += data
        self.ended = not data
        return True

    def _hand_on(self) -> bool:
        try:
            count = self.sink.send(self.held)
        except BlockingIOError:
            return False
        except OSError:  # nobody is there any more to take it
            count = len(self.held)
        del self.held[:count]
        self.carried += count
        return True


class Line:
    """One connection through the cable."""

    def __init__(self, crank: Crank, near: socket.socket, far: socket.socket, cut_after: int | None = None) -> None:
        near.setblocking(False)
        far.setblocking(False)
        self._crank = crank
        self._ends = near, far
        self.there, self.back = Flow(near, far), Flow(far, near)
        self.cut_after = cut_after
        self.open = True
        crank.movers.append(self._move)

    @property
    def carried(self) -> int:
        return self.there.carried + self.back.carried

    def stall(self, on: bool = True) -> None:
        """Carry nothing, without a word."""
        self.there.stalled = self.back.stalled = on

    def cut(self) -> None:
        """Both ends find their connection broken; what was on its way is lost."""
        if self.open:
            self.open = False
            self._crank.movers.remove(self._move)
            for end in self._ends:
                end.close()

    def _move(self) -> bool:
        moved = False
        for flow in (self.there, self.back):
            left = (1 << 40) if self.cut_after is None else self.cut_after - self.carried
            moved = flow.move(left) or moved
        if self.carried == self.cut_after or (self.there.sink_ended and self.back.sink_ended):
            self.cut()
            return True
        return moved


@implementer(IStreamClientEndpoint)
class Cable:
    """What the source dials: each connection is a line to the destination, unless the cable is pulled."""

    def __init__(self, crank: Crank) -> None:
        self._crank = crank
        self.far: Destination | None = None
        self.lines: list[Line] = []
        self.refuses = False
        self.swallows = False  # a SYN gets no answer at all
        self.attempts = 0
        self.room: int | None = None  # bytes that a socket takes before it is full
        self.pair: Callable[[], tuple[socket.socket, socket.socket]] = socket.socketpair
        self.next_cut: Callable[[], int | None] = lambda: None

    def connect(self, protocolFactory: Any) -> Deferred[Any]:
        self.attempts += 1
        if self.swallows:
            return Deferred(lambda d: d.errback(_connecting_cancelled()))
        if self.refuses or self.far is None:
            return fail(ConnectionRefusedError())
        return deferLater(self._crank, 0, self._connected, protocolFactory, self.far)

    def cut(self) -> None:
        """Cut all lines."""
        for line in tuple(self.lines):
            line.cut()

    @property
    def line(self) -> Line:
        """The newest."""
        return self.lines[-1]

    def dial(self, cut_after: int | None = None, address: Any = None) -> socket.socket:
        """A connection to the destination for somebody who speaks for himself."""
        assert self.far is not None
        ours, near = self.pair()
        far, theirs = self.pair()
        if self.room is not None:
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.room)
        self.lines = [line for line in self.lines if line.open]
        self.lines.append(Line(self._crank, near, far, cut_after))
        arrival = self.far.buildProtocol(address)
        arrival.makeConnection(Handle(theirs))  # type: ignore[arg-type]
        return ours

    def _connected(self, factory: Factory, far: Destination) -> Any:
        protocol = factory.buildProtocol(None)  # type: ignore[arg-type]
        assert protocol is not None
        protocol.makeConnection(Handle(self.dial(self.next_cut())))  # type: ignore[arg-type]
        return protocol


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection, which has resets of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
        for end in (ours, theirs):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return ours, theirs


def _connecting_cancelled() -> Exception:
    from twisted.internet.address import UNIXAddress
    from twisted.internet.error import ConnectingCancelledError

    return ConnectingCancelledError(UNIXAddress("/cable"))  # what Twisted's endpoints say when they are cancelled


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
            raise self.refusal
        ours, theirs = socket.socketpair()
        self.programs.append(Program(self._crank, theirs))
        return ours

    def refuse(self, text: str) -> None:
        self.refusal = TargetUnreachable(text)


class Stage:
    """Both ends, the cable between them, and the programs at their outer sides."""

    def __init__(self, terms: Terms | None = None, far_terms: Terms | None = None, tls_dir: Path | None = None, **admission: Any) -> None:
        self.sockets = open_sockets()
        self.crank = Crank()
        self.terms = terms or Terms(window=256 * 1024)
        self.cable = Cable(self.crank)
        if tls_dir is not None:
            self.cable.pair = tcp_pair  # where the kernel can have a part in it
        self.near_pool, self.far_pool = CountingPool(), CountingPool()
        near_tls = (tls.client_context(tls_dir), "localhost") if tls_dir is not None else ()
        far_tls = tls.server_context(tls_dir) if tls_dir is not None else None
        txaio.config.loop = self.crank  # txaio believes that a process has one reactor
        self.dialer = Dialer(Runtime(self.crank, self.terms, self.near_pool, self.crank), self.cable, "the cable", *near_tls)
        self.source = Source(self.dialer)
        self.entrance = Entrance(self.source, "disk")
        self.targets = Targets()
        self.target = Far(self.crank)
        self.targets.add("disk", self.target)
        far = Runtime(self.crank, far_terms or self.terms, self.far_pool, self.crank)
        self.destination = Destination(far, self.targets, far_tls, **admission)
        self.cable.far = self.destination
        self.near_programs: list[Program] = []

    def arrive(self) -> Program:
        """A local program connects at the source."""
        ours, theirs = socket.socketpair()
        program = Program(self.crank, ours)
        self.near_programs.append(program)
        self.entrance.arrived(theirs)
        return program

    def meet(self) -> tuple[Program, Program]:
        """A local program connects; return it and the one at the target."""
        known = len(self.target.programs)
        near = self.arrive()
        self.rest()
        assert len(self.target.programs) == known + 1, "the target was not connected to"
        return near, self.target.programs[-1]

    @property
    def near(self) -> Channel:
        """The source's only channel."""
        (channel,) = self.source.channels
        return channel

    @property
    def far(self) -> Channel:
        """The destination's only channel."""
        (channel,) = self.destination.channels
        return channel

    def rest(self) -> None:
        self.crank.rest()

    def pass_time(self, seconds: float) -> None:
        self.crank.pass_time(seconds)

    def assert_all_gone(self) -> None:
        """Nothing is left of any channel, at either end: no entry, no socket, no memory, no timer but the batched ones."""
        assert not self.source.channels
        assert not self.destination.channels
        assert not self.destination._entries
        assert not len(self.destination.admission)
        assert not self.entrance._channels
        assert not self.entrance._opening
        assert self.near_pool.lent == self.far_pool.lent == 0
        for program in (*self.near_programs, *self.target.programs):
            program.close()
        self.cable.lines = [line for line in self.cable.lines if line.open]
        self.rest()
        assert not [line for line in self.cable.lines if line.open], "a connection was left open"
        assert not self.crank.getReaders()
        assert not self.crank.getWriters()
        assert [call for call in self.crank.getDelayedCalls() if "_notify_bucket" not in repr(call.func)] == []
        assert open_sockets() <= self.sockets


def open_sockets() -> set[str]:
    """The sockets that this process has."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the one that lists them is gone
            found.add(os.readlink(f"/proc/self/fd/{fd}"))
    return {each for each in found if each.startswith("socket:")}


class Stranger:
    """Somebody who speaks to the destination in his own way: boxes, frames, or anything else."""

    def __init__(self, stage: Stage, sock: socket.socket | None = None, address: Any = None) -> None:
        self.sock = sock or stage.cable.dial(address=address)
        self.program = Program(stage.crank, self.sock)
        stage.near_programs.append(self.program)
        self._stage = stage

    def say(self, data: bytes) -> Stranger:
        self.program.send(data)
        self._stage.rest()
        return self

    def ask(self, command: str, **values: object) -> Stranger:
        return self.say(box(_command=command, _ask="1", **values))

    def open(self, ident: bytes = b"i" * 16, target: str = "disk", window: int = 1 << 18, version: int = 1) -> Stranger:
        return self.ask("OpenChannel", version=version, channel=ident, target=target, window=window)

    def resume(self, ident: bytes = b"i" * 16, received: int = 0, version: int = 1) -> Stranger:
        return self.ask("ResumeChannel", version=version, channel=ident, received=received)

    def hear_box(self) -> dict[str, bytes]:
        """The next box that came."""
        values: dict[str, bytes] = {}
        while (key := self._string()) is not None and key:
            values[key.decode()] = self._string() or b""
        return values

    def hear_frames(self) -> list[tuple[Kind, int, bytes]]:
        """All frames that came whole."""
        heard = []
        got = self.program.got
        while len(got) >= HEADER.size:
            kind, length, offset = HEADER.unpack_from(got)
            heard.append((Kind(kind), offset, bytes(got[HEADER.size : HEADER.size + length])))
            del got[: HEADER.size + length]
        return heard

    @property
    def closed(self) -> bool:
        """Whether the destination has closed the connection."""
        return self.program.got_end or self.program.gone is not None

    def hang_up(self) -> None:
        self.program.close()
        self._stage.rest()

    def _string(self) -> bytes | None:
        got = self.program.got
        if len(got) < 2:
            return None
        length = int.from_bytes(got[:2], "big")
        value = bytes(got[2 : 2 + length])
        del got[: 2 + length]
        return value


def box(**values: object) -> bytes:
    """An AMP box."""
    pairs = [(key.encode(), value if isinstance(value, bytes) else str(value).encode()) for key, value in values.items()]
    strings = [part for pair in pairs for part in pair]
    return b"".join(len(part).to_bytes(2, "big") + part for part in strings) + b"\0\0"
