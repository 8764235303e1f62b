"""The sink swallows, and no more than it should."""

from __future__ import annotations

import errno
import os
import socket

import pytest
from twisted.internet.defer import Deferred

from nbdtun.tunnel.destination import sink as module
from nbdtun.tunnel.destination.sink import MAX_AT_ONCE, MAX_SECONDS, Sink
from tests.tunnel.stage.crank import Crank


def connected(sink: Sink) -> socket.socket:
    got: list[socket.socket] = []
    Deferred.fromCoroutine(sink.connect("sink")).addCallback(got.append)
    got[0].setblocking(False)
    return got[0]


def ended(sock: socket.socket) -> bool:
    """Whether the sink has closed its side."""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_without_descriptors_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "socketpair", no_descriptors)
    sink = Sink(Crank())
    refused: list[str] = []
    Deferred.fromCoroutine(sink.connect("sink")).addErrback(lambda failure: refused.append(failure.value.line))  # type: ignore[call-overload]
    assert refused == ["target sink: Too many open files [target-unreachable]"]
    assert repr(sink) == "<Sink, 0 channels>"


def no_descriptors(*_: object) -> None:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_it_swallows_until_the_end() -> None:
    crank = Crank()
    sink = Sink(crank)
    sock = connected(sink)
    for _ in range(100):
        assert sock.send(bytes(10_000)) == 10_000
        crank.rest()
    assert repr(sink) == "<Sink, 1 channels>"
    sock.shutdown(socket.SHUT_WR)
    crank.rest()
    assert ended(sock)
    assert repr(sink) == "<Sink, 0 channels>"
    assert crank.getDelayedCalls() == crank.getReaders() == []
    sock.close()


def test_it_takes_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 50_000)
    crank = Crank()
    sock = connected(Sink(crank))
    sock.send(bytes(50_000))
    crank.rest()
    assert not ended(sock)
    sock.send(b"!")
    crank.rest()
    assert ended(sock)
    sock.close()


def test_it_does_not_wait_for_ever() -> None:
    crank = Crank()
    sock = connected(Sink(crank))
    crank.pass_time(MAX_SECONDS - 1)
    assert not ended(sock)
    crank.pass_time(2)
    assert ended(sock)
    sock.close()


def test_it_serves_a_few_at_a_time() -> None:
    crank = Crank()
    sink = Sink(crank)
    socks = [connected(sink) for _ in range(MAX_AT_ONCE)]
    refused: list[BaseException | None] = []
    Deferred.fromCoroutine(sink.connect("sink")).addErrback(lambda failure: refused.append(failure.value))
    assert str(refused[0]) == f"target sink: {MAX_AT_ONCE} sources are already measuring the tunnel; try again later"
    socks.pop().close()
    crank.rest()
    socks.append(connected(sink))
    for sock in socks:
        sock.close()
    crank.rest()
