"""TLS below another protocol, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport

from nbdtun.errors import LinkLost, TLSError
from nbdtun.reach.codes.offer import _unverified
from nbdtun.reach.codes.secured import Secured
from nbdtun.tls.throwaway import Identity


class Inner(Protocol):
    def __init__(self) -> None:
        self.got, self.lost = b"", False

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class Pair:
    def __init__(self) -> None:
        self.identity = Identity.make()
        self.inner = Inner(), Inner()
        self.ends = Secured(self.identity.introducing(), self.inner[0], server=True), Secured(_unverified(), self.inner[1], server=False)
        self.wires = StringTransport(), StringTransport()
        for end, wire in zip(self.ends, self.wires, strict=True):
            end.makeConnection(wire)

    def turn(self) -> None:
        """Let bytes cross until none are left."""
        while any(wire.value() for wire in self.wires):
            for number, wire in enumerate(self.wires):
                data = wire.value()
                wire.clear()
                if data:
                    self.ends[1 - number].dataReceived(data)


def test_bytes_cross_when_hands_were_shaken() -> None:
    pair = Pair()
    pair.turn()
    shaken: list[bytes] = []
    pair.ends[1].shaken.addCallback(shaken.append)
    assert shaken == [pair.identity.certificate]
    pair.ends[0].write(bytes(100_000))
    pair.ends[1].writeSequence([b"a", b"b"])
    assert b"ab" not in pair.wires[1].value()
    pair.turn()
    assert (pair.inner[0].got, pair.inner[1].got) == (b"ab", bytes(100_000))
    assert pair.ends[0].getPeer() == pair.wires[0].getPeer()
    assert pair.ends[0].getHost() == pair.wires[0].getHost()
    assert "open>" in repr(pair.ends[0])
    pair.ends[0].loseConnection()
    pair.ends[1].abortConnection()
    assert pair.wires[0].disconnecting
    pair.ends[0].connectionLost()
    assert pair.inner[0].lost


def test_what_is_no_tls_ends_it() -> None:
    pair = Pair()
    pair.ends[0].dataReceived(b"GET / HTTP/1.0\r\n\r\n")
    failures: list[Any] = []
    pair.ends[0].shaken.addErrback(failures.append)
    assert failures[0].check(TLSError)
    assert pair.wires[0].disconnecting


def test_an_end_before_that() -> None:
    pair = Pair()
    pair.ends[0].connectionLost()
    failures: list[Any] = []
    pair.ends[0].shaken.addErrback(failures.append)
    assert failures[0].check(LinkLost)
    assert not pair.inner[0].lost


def test_bytes_that_were_changed_end_it() -> None:
    pair = Pair()
    pair.turn()
    pair.ends[1].write(b"hello")
    changed = bytearray(pair.wires[1].value())
    changed[-1] ^= 1
    pair.ends[0].dataReceived(bytes(changed))
    assert pair.wires[0].disconnecting
    assert pair.inner[0].got == b""
