"""Single frames and openings, sent to a real destination: what it must do with each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.peer import frames, messages
from tests.peer.frames import ACK, ASK, BYE, DATA, FIN, PING, PONG, RESET, frame
from tests.peer.messages import Box, Refused, Release
from tests.peer.source import Source
from tests.peer.wire import Lost, Wire

WINDOW = 65536


@dataclass
class Raw:
    """A channel without an end of its own: a test says each frame."""

    source: Source
    target: str = "echo"
    ident: bytes = field(default_factory=lambda: os.urandom(16))
    wires: list[Wire] = field(default_factory=list)

    def open(self, window: int = WINDOW, target: str = "") -> Box:
        """Ask `OpenChannel` on a new connection."""
        return self._ask("OpenChannel", target=target or self.target, window=window)

    def resume(self, received: int) -> Box:
        """Ask `ResumeChannel` on a new one."""
        return self._ask("ResumeChannel", received=received)

    def _ask(self, command: str, **fields: messages.Value) -> Box:
        self.wires.append(self.source.dial())
        return self.source.ask(self.wires[-1], command, channel=self.ident, **fields)

    def send(self, *parts: bytes, link: int = -1) -> None:
        """Send frames."""
        self.wires[link].send(b"".join(parts))

    def hear(self, *kinds: int, link: int = -1) -> tuple[int, int, bytes]:
        """The next frame of these kinds; those in between are passed over."""
        while True:
            found = frames.read(self.wires[link].exactly)
            if found[0] in kinds:
                return found

    def reason(self) -> str:
        """That of the `RESET` that comes, after which the connection ends."""
        payload = self.hear(RESET)[2].decode()
        self.wait_closed()
        return payload

    def wait_closed(self, link: int = -1) -> None:
        """Wait until the destination has closed the connection."""
        with pytest.raises(Lost, match=r"closed|reset"):
            self.wires[link].exactly(1 << 20)


@pytest.fixture
def raw(real_destination: Callable[[bool], int]) -> Iterator[Callable[..., Raw]]:
    """Makes a channel: `raw("echo")`."""
    made: list[Raw] = []

    def make(target: str = "echo") -> Raw:
        made.append(Raw(Source(real_destination(False)), target))
        return made[-1]

    yield make
    for each in made:
        for wire in each.wires:
            wire.close()


def opened(raw: Callable[..., Raw], target: str = "echo") -> Raw:
    """One whose link begins well."""
    made = raw(target)
    answer = made.open()
    assert (answer["version"], answer["features"], answer["received"], answer["window"]) == (b"1", b"", b"0", b"65536")
    kind, offset, _ = frames.read(made.wires[-1].exactly)
    assert (kind, offset) == (ACK, 0)
    made.send(frame(ACK, 0))
    return made


def test_an_exchange_frame_by_frame(raw: Callable[..., Raw]) -> None:
    link = opened(raw)
    link.send(frame(DATA, 0, b"he"), frame(ASK, 2, b"llo"))
    assert link.hear(DATA)[1:] == (0, b"hello")
    link.send(frame(FIN, 5), frame(ACK, 5))
    assert link.hear(FIN)[1] == 5
    link.send(frame(ACK, 6))
    assert frames.read(link.wires[-1].exactly)[0] in (ACK, BYE)
    link.wait_closed()
    with pytest.raises(Refused) as refused:
        link.resume(6)
    assert refused.value.code == "complete"


def test_ping_and_extensions(raw: Callable[..., Raw]) -> None:
    link = opened(raw)
    link.send(frame(128, 5), frame(200, 1 << 63, bytes(16384)), frame(PONG, 77), frame(PING, (1 << 64) - 1))
    assert link.hear(PONG)[1] == (1 << 64) - 1
    link.send(b"\x05abc" + frame(PING, 9)[4:])
    assert link.hear(PONG)[1] == 9


@pytest.mark.parametrize(
    "violation",
    [
        frame(0),
        frame(9),
        frame(127),
        frame(255, 0, bytes(16385)),
        frame(DATA),
        frames.HEADER.pack(DATA, (1 << 20) + 1, 0),
        frame(ACK, 0, b"x"),
        frame(PING, 0, b"x"),
        frame(DATA, 1, b"x"),
        frame(ASK, 1, b"x"),
        frame(ACK, 1),
        frame(FIN, 1),
        frame(FIN, 0) + frame(DATA, 0, b"x"),
        frame(FIN, 0) + frame(FIN, 0),
        frame(BYE),
        frame(RESET, 0, bytes(1025)),
    ],
    ids=lambda sent: sent[:12].hex(),
)
def test_violations(raw: Callable[..., Raw], violation: bytes) -> None:
    link = opened(raw, "sleeper")
    link.send(violation)
    assert link.reason().startswith("protocol ")
    with pytest.raises(Refused) as refused:
        link.resume(0)
    assert refused.value.code == "protocol"


@pytest.mark.parametrize(("payload", "reason"), [(b"x-later tomorrow", "tomorrow"), (b"", "reset"), (b"\xff", "")])
def test_a_reset(raw: Callable[..., Raw], payload: bytes, reason: str) -> None:
    link = opened(raw)
    link.send(frame(RESET, 0, payload))
    link.wait_closed()
    with pytest.raises(Refused, match=reason or None) as refused:
        link.resume(0)
    assert refused.value.code == "reset"


def test_more_than_the_window_unwritten(raw: Callable[..., Raw]) -> None:
    """What the target's own socket takes is written, and opens the window; the rest is not."""
    link = opened(raw, "sleeper")
    for at in range(0, 4 << 20, WINDOW):
        link.send(frame(DATA, at, bytes(WINDOW)))
    assert link.reason().startswith("protocol ")


def test_a_full_window_and_its_end(raw: Callable[..., Raw]) -> None:
    """`FIN` needs no room in the window."""
    link = opened(raw, "sleeper")
    sent = acked = 0
    while sent - acked < WINDOW:
        link.send(frame(ASK, sent, bytes(WINDOW - (sent - acked))))
        sent = acked + WINDOW
        link.wires[-1].patience(1)
        try:
            acked = link.hear(ACK)[1]
        except Lost:
            break
    link.send(frame(FIN, sent), frame(PING, 1))
    link.wires[-1].patience(10)
    assert link.hear(PONG, RESET)[0] == PONG


def test_half_a_frame_counts(raw: Callable[..., Raw]) -> None:
    link = opened(raw)
    link.send(frame(DATA, 0, b"0123456789")[:20])
    assert link.hear(DATA)[1:] == (0, b"0123")
    received = int(link.resume(4)["received"])
    assert received == 4
    link.send(frame(ACK, 4), frame(DATA, 4, b"456789"))
    assert link.hear(DATA)[1:] == (4, b"456789")


def test_a_lost_answer(raw: Callable[..., Raw]) -> None:
    """The same question again is the same channel, and what it has sent is sent again."""
    link = raw("greeter")
    link.open()
    link.open()
    assert link.hear(DATA)[1:] == (0, b"hello")
    link.wait_closed(0)
    for wrong in ({"window": 2 * WINDOW}, {"target": "echo"}):
        with pytest.raises(Refused) as refused:
            link.open(**wrong)
        assert refused.value.code == "protocol"
    link.send(frame(PING, 3), link=1)
    assert link.hear(PONG, link=1)[1] == 3


def test_an_old_resume_changes_nothing(raw: Callable[..., Raw]) -> None:
    link = opened(raw)
    link.send(frame(DATA, 0, b"hello"))
    link.hear(DATA)
    link.resume(5)
    for received, code in ((4, "resume-refused"), (0, "resume-refused")):
        with pytest.raises(Refused) as refused:
            link.resume(received)
        assert refused.value.code == code
    link.send(frame(PING, 3), link=1)
    assert link.hear(PONG, link=1)[1] == 3


def test_a_resume_beyond_what_was_sent(raw: Callable[..., Raw]) -> None:
    """It is a violation, and the channel is given up on its present link too."""
    link = opened(raw)
    for received in (1, 0):
        with pytest.raises(Refused) as refused:
            link.resume(received)
        assert refused.value.code == "protocol"
    assert link.hear(RESET, link=0)[2].startswith(b"protocol ")


def test_a_channel_that_nobody_knows(raw: Callable[..., Raw]) -> None:
    with pytest.raises(Refused) as refused:
        raw().resume(0)
    assert refused.value.code == "resume-refused"


@pytest.mark.parametrize(
    ("altered", "code"),
    [
        ({"_command": b"Later"}, "UNHANDLED"),
        ({"channel": bytes(15)}, "protocol"),
        ({"window": b"65535"}, "protocol"),
        ({"window": b"+65536"}, "protocol"),
        ({"window": b"0" * 21}, "protocol"),
        ({"urgent": b"yes"}, "protocol"),
        ({"target": b"-x"}, "target-unknown"),
        ({"target": b"x" * 65}, "target-unknown"),
        ({"target": "é".encode()}, "target-unknown"),
        ({"target": b"\xff"}, "protocol"),
        ({"features": b"x_y"}, "protocol"),
        ({"features": b"a  b"}, "protocol"),
        ({"features": b" ".join(b"x%d" % number for number in range(33))}, "protocol"),
        ({"highest": b"65536"}, "protocol"),
    ],
)
def test_a_question_that_is_wrong(raw: Callable[..., Raw], altered: Box, code: str) -> None:
    link = raw()
    link.source.altered = lambda box: {**box, **altered}
    with pytest.raises(Refused) as refused:
        link.open()
    assert refused.value.code == code


@pytest.mark.parametrize("missing", ["lowest", "highest", "features", "channel", "target", "window"])
def test_a_question_without_a_field(raw: Callable[..., Raw], missing: str) -> None:
    link = raw()
    link.source.altered = lambda box: {name: content for name, content in box.items() if name != missing}
    with pytest.raises(Refused) as refused:
        link.open()
    assert refused.value.code == "protocol"


@pytest.mark.parametrize(
    "box",
    [
        messages.pack(_command="Greet", _ask="1", _answer="2", lowest=1, highest=1, features=""),
        messages.pack(lowest=1, highest=1, features=""),
        messages.pack(_command="Greet", _ask="1", lowest=1, highest=1, features="")[:-2] + messages.pack(lowest=1),
        messages.pack(_command="Greet", _ask="1", lowest=1, highest=1, features="", **{f"f{number}": "" for number in range(28)}),
        b"\1\0" + bytes(256) + bytes(4),
        messages.pack(_command="Greet", _ask="1", lowest=1, highest=1, features="", **{f"f{number}": bytes(4000) for number in range(5)}),
        bytes(2),
        messages.pack(_command="Greet", lowest=1, highest=1, features=""),
        messages.pack(_answer="1"),
    ],
    ids=["two kinds", "no kind", "a key twice", "33 fields", "a long key", "more than 16 KiB", "empty", "no _ask", "an answer"],
)
def test_a_box_that_is_wrong(raw: Callable[..., Raw], box: bytes) -> None:
    """Nothing is answered; the connection is closed."""
    link = raw()
    link.wires.append(link.source.dial())
    link.send(box)
    with pytest.raises(Lost, match=r"closed|reset"):
        messages.read(link.wires[0].exactly)


def test_a_second_question(raw: Callable[..., Raw]) -> None:
    link = raw()
    link.source.altered = lambda box: {**box, "_command": b"Greet"}
    link.open()
    link.send(messages.pack(_command="Greet", _ask="2", **Release().offer()))
    assert messages.read(link.wires[0].exactly)["_error_code"] == b"UNHANDLED"


def test_leading_zeros_and_32_fields(raw: Callable[..., Raw]) -> None:
    link = raw()
    link.source.altered = lambda box: {**box, "window": b"0" * 15 + b"65536", **{f"f{number}": b"" for number in range(24)}}
    assert link.open()["window"] == b"65536"
