"""Our source and a real destination: whole channels, lost links, and cuts at every byte."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import pytest

from lab.cable import Cable
from tests.peer import frames, messages
from tests.peer.channel import Channel
from tests.peer.messages import Refused, Release, Value
from tests.peer.source import Source
from tests.peer.wire import Lost

MIB = 1 << 20


def echoed(channel: Channel, data: bytes) -> bytes:
    """Send it in a thread, end, and read what comes back."""

    def send() -> None:
        channel.write(data)
        channel.end()

    threading.Thread(target=send, daemon=True).start()
    return channel.rest()


def test_data_go_both_ways(source: Source) -> None:
    data = os.urandom(4 * MIB)
    channel = source.open("echo")
    assert echoed(channel, data) == data
    assert channel.wait_over().code == "complete"


def test_more_than_the_window(source: Source) -> None:
    data = os.urandom(2 * MIB)
    channel = source.open("echo", window=65536)
    assert echoed(channel, data) == data
    assert channel.window == 65536
    assert channel.wait_over().code == "complete"


def test_the_destination_ends_first(source: Source) -> None:
    channel = source.open("greeter")
    assert channel.rest() == b"hello"
    channel.write(bytes(MIB))
    channel.end()
    assert channel.wait_over().code == "complete"


def test_the_source_ends_first(source: Source) -> None:
    channel = source.open("counter")
    channel.write(bytes(3 * MIB))
    channel.end()
    assert channel.rest() == b"%d" % (3 * MIB)
    assert channel.wait_over().code == "complete"


def test_links_are_lost(source: Source) -> None:
    """Each link is closed by this end, in the middle of both streams."""
    data = os.urandom(4 * MIB)
    channel = source.open("echo")
    got = bytearray()

    def send() -> None:
        channel.write(data)
        channel.end()

    threading.Thread(target=send, daemon=True).start()
    while len(got) < len(data):
        got += channel.exactly(min(MIB, len(data) - len(got)))
        channel.state()
    assert channel.rest() == b""
    assert got == data
    assert channel.wait_over().code == "complete"
    assert channel.links > 2


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("way", ["up", "down"])
def test_a_cut_at_every_byte(source: Source, way: str, step: int) -> None:
    """From the first byte of the opening to the last of the end; whatever was lost is sent again, and nothing twice."""
    dialled = count = 0
    while dialled != 1:
        before = source.dialled
        source.cut = (count, way)
        channel = source.open("echo", window=65536)
        channel.write(b"some data")
        assert channel.exactly(9) == b"some data", count
        channel.end()
        assert channel.rest() == b"", count
        assert channel.wait_over().code == "complete", count
        dialled = source.dialled - before
        count += step
    assert count > 120


@pytest.mark.parametrize("early", [frames.frame(frames.ACK), messages.pack(_command="Greet", _ask="2", **Release().offer())])
def test_what_comes_with_the_question_closes_the_connection(source: Source, early: bytes) -> None:
    """The destination gives no answer; and the channel can be opened after that."""
    secret: dict[str, Value] = {"secret": os.urandom(32)} if source.secret else {}
    fields: dict[str, Value] = {"channel": os.urandom(16), **secret, "target": "echo", "window": 65536}
    connection = source.dial()
    connection.send(messages.pack(_command="OpenChannel", _ask="1", **Release().offer(), **fields) + early)
    with pytest.raises(Lost):
        connection.exactly(1)
    proper = source.dial()
    assert messages.number(source.ask(proper, "OpenChannel", **fields), "received") == 0
    proper.close()


def test_a_longer_outage(cable: Cable) -> None:
    channel = Source(cable.port).open("echo")
    channel.write(b"before")
    assert channel.exactly(6) == b"before"
    cable.pull(0.5)
    assert echoed(channel, b"after") == b"after"
    assert channel.wait_over().code == "complete"
    assert channel.links == 2


def test_a_reset_waits_for_the_next_link(cable: Cable) -> None:
    channel = Source(cable.port).open("echo")
    cable.pull(1)
    with channel.changed:
        assert channel.changed.wait_for(lambda: not channel.linked, 10)
    channel.reset("reset", "enough of it")
    with channel.changed:
        assert channel.changed.wait_for(lambda: channel.links == 2, 20)


def test_a_target_that_cannot_be_reached(source: Source) -> None:
    with pytest.raises(Refused, match="No such file or directory") as refused:
        source.open("missing")
    assert refused.value.code == "target-unreachable"
    with pytest.raises(Refused) as refused:
        source.open("other")
    assert refused.value.code == "target-unknown"


def test_a_later_source(real_destination: Callable[[bool], int]) -> None:
    """It speaks more versions, has features and fields that the destination does not know."""
    later = Source(real_destination(False), release=Release(1, 3, ("x-fast", "x-wide")), altered=lambda box: {**box, "later": b"\0\xff"})
    answer = later.greet()
    assert (answer["version"], answer["features"]) == (b"1", b"")
    channel = later.open("echo")
    assert echoed(channel, b"as ever") == b"as ever"


@pytest.mark.parametrize(("release", "code"), [(Release(2, 3), "version"), (Release(2, 1), "protocol")])
def test_versions_that_do_not_fit(real_destination: Callable[[bool], int], release: Release, code: str) -> None:
    with pytest.raises(Refused) as refused:
        Source(real_destination(False), release=release).greet()
    assert refused.value.code == code
    if code == "version":
        assert all(word in refused.value.description for word in ("1", "2", "3", "newer"))
