"""A real source and our destination."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.daemon import Twistd
from tests.peer import frames
from tests.peer.destination import Destination, Known, unix
from tests.peer.messages import Value
from tests.peer.programs import dial, read, read_all

MIB = 1 << 20
REAL = ["echo", "greeter", "counter", "sleeper"]


@dataclass
class Served:
    """A real source, our destination, and the entrances of the source."""

    destination: Destination
    daemon: Twistd
    entrances: dict[str, Path]

    def dial(self, target: str = "echo") -> socket.socket:
        """A local program at the source."""
        return dial(self.entrances[target])

    def latest(self) -> Known:
        """The channel that was opened last."""
        return list(self.destination.known.values())[-1]


@pytest.fixture(scope="module")
def real_source(folder: Path, tls: Path, real_destination: object) -> Iterator[Callable[[bool], Served]]:
    """Real sources of ours, with and without TLS; their targets are the programs that the real destination has too."""
    made: dict[bool, Served] = {}

    def started(secure: bool) -> Served:
        if secure not in made:
            targets = {name: unix(folder / f"{name}.sock") for name in (*REAL, "missing")}
            destination = Destination(tls if secure else None, targets=targets)
            entrances = {name: folder / f"{name}-{secure:d}.in" for name in (*targets, "other")}
            forwards = [word for name, path in entrances.items() for word in ("--forward", f"{name}=unix:{path}")]
            options = ["--connect", f"tcp:127.0.0.1:{destination.port}", *forwards, "--run-dir", f"{folder}/run-{secure:d}"]
            daemon = Twistd(folder, "nbdtun-source", *options, *(["--tls-dir", f"{tls}"] if secure else []), name=f"source-{secure:d}")
            made[secure] = Served(destination, daemon, entrances)
            for path in entrances.values():
                daemon.wait_socket(path, 120)
        return made[secure]

    started(False)  # not later: what a test starts, ends with it
    started(True)
    yield started
    for each in made.values():
        each.daemon.kill()
        each.destination.__exit__()


@pytest.fixture
def served(real_source: Callable[[bool], Served], secure: bool) -> Served:
    """One of them, whose answers are proper."""
    one = real_source(secure)
    one.destination.altered, one.destination.cut = (lambda fields: fields), None
    return one


def echoed(peer: socket.socket, data: bytes) -> bytes:
    """Send it in a thread, end, and read what comes back."""

    def send() -> None:
        peer.sendall(data)
        peer.shutdown(socket.SHUT_WR)

    threading.Thread(target=send, daemon=True).start()
    return read_all(peer)


def test_data_go_both_ways(served: Served) -> None:
    data = os.urandom(4 * MIB)
    with served.dial() as peer:
        assert echoed(peer, data) == data
    assert served.latest().channel.wait_over().code == "complete"


def test_it_greets_first(served: Served) -> None:
    assert served.destination.questions[0]["_command"] == b"Greet"


def test_the_destination_ends_first(served: Served) -> None:
    with served.dial("greeter") as peer:
        assert read_all(peer) == b"hello"
        peer.sendall(bytes(MIB))
        peer.shutdown(socket.SHUT_WR)
        assert served.latest().channel.wait_over().code == "complete"


def test_the_source_ends_first(served: Served) -> None:
    with served.dial("counter") as peer:
        assert echoed(peer, bytes(3 * MIB)) == b"%d" % (3 * MIB)
    assert served.latest().channel.wait_over().code == "complete"


def test_links_are_lost(served: Served) -> None:
    data = os.urandom(4 * MIB)
    got = bytearray()
    with served.dial() as peer:

        def send() -> None:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)

        threading.Thread(target=send, daemon=True).start()
        while len(got) < len(data):
            got += peer.recv(MIB)
            links = served.latest().channel.links
            if links <= 2 and len(got) > (2 * links - 1) * MIB:  # more than a window ago it was lost for the last time
                served.latest().channel.state()
        assert read_all(peer) == b""
    assert got == data
    assert served.latest().channel.wait_over().code == "complete"
    assert served.latest().channel.links > 2


def test_targets_that_cannot_be_reached(served: Served) -> None:
    for target, line in (("missing", "target missing: No such file or directory"), ("other", "the destination has no target 'other'")):
        with served.dial(target) as peer:
            assert peer.recv(1) == b""
        served.daemon.wait_log(line)


def test_fields_of_a_later_destination(served: Served) -> None:
    served.destination.altered = lambda fields: {**fields, "later": b"\0\xff"}
    with served.dial() as peer:
        assert echoed(peer, b"as ever") == b"as ever"


@pytest.mark.parametrize(
    "wrong",
    [{"version": 2}, {"version": 0}, {"features": "x-fast"}, {"received": 1}, {"window": 65535}, {"window": 1 << 40}, {"window": "-1"}],
    ids=str,
)
def test_answers_that_are_wrong(served: Served, wrong: dict[str, Value]) -> None:
    """The channel is over, and so is its local program's connection."""
    served.destination.altered = lambda fields: {**fields, **wrong}
    with served.dial() as peer:
        assert peer.recv(1) == b""


def test_an_error_that_is_not_known_is_final(served: Served) -> None:
    before = len(served.destination.questions)
    served.destination.refusal = ("later-trouble", "something of tomorrow")
    try:
        with served.dial() as peer:
            assert peer.recv(1) == b""
    finally:
        served.destination.refusal = None
    served.daemon.wait_log("something of tomorrow")
    time.sleep(0.3)
    assert len(served.destination.questions) == before + 1


@pytest.mark.parametrize(
    "violation",
    [frames.frame(9), frames.frame(frames.BYE), frames.frame(frames.ACK, 1), frames.frame(frames.FIN, 6)],
    ids=lambda sent: sent.hex(),
)
def test_violations(served: Served, violation: bytes) -> None:
    with served.dial("greeter") as peer:
        assert peer.recv(1) == b"h"
        known = served.latest().channel
        known.say(violation)
        over = known.wait_over()
        assert over.code == "protocol"


def test_extensions_and_pings(served: Served) -> None:
    with served.dial() as peer:
        peer.sendall(b"x")
        assert peer.recv(1) == b"x"
        served.latest().channel.say(frames.frame(200, 5, b"later") + frames.frame(frames.PING, 5))
        assert echoed(peer, b"as ever") == b"as ever"
    assert served.latest().channel.wait_over().code == "complete"


@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_cut_at_every_byte(served: Served, way: str, step: int) -> None:
    """From the first byte of the opening to the last of the end; the target is connected to once."""
    accepted = count = 0
    while accepted != 1:
        before, known = served.destination.accepted, len(served.destination.known)
        served.destination.cut = (count, way)
        with served.dial() as peer:
            peer.sendall(b"some data")
            assert read(peer, 9) == b"some data", count
            peer.shutdown(socket.SHUT_WR)
            assert read_all(peer) == b"", count
        assert served.latest().channel.wait_over().code == "complete", count
        assert len(served.destination.known) == known + 1
        accepted = served.destination.accepted - before
        count += step
    assert count > 120
