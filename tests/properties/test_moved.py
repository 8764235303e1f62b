"""A direction of records that changes its process, at either end, whenever it likes: no byte is lost, none comes twice."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from nbdtun.tls.records.messages import HANDSHAKE, KEY_UPDATE
from nbdtun.tls.records.protection import FREE_CHANGES, MAX_DATA, Opener, Sealer
from nbdtun.tls.records.suites import SUITES
from nbdtun.tunnel.protocol.records import BUFFER, ROOM, RecordReader
from tests.tls.records.stage import Direction
from tests.tunnel.stage.pool import CountingPool

#: What is sent, again and again.
CONTENT = bytes(range(251)) * 400


def content(start: int, count: int) -> bytes:
    """What is sent at these offsets."""
    return CONTENT[start % 251 :][:count]


class Moving(RuleBasedStateMachine):
    """One end seals and one opens; the line delivers in pieces; both move."""

    @initialize(name=st.sampled_from(sorted(SUITES)))
    def begin(self, name: str) -> None:
        self.direction = Direction(name)
        self.pool = CountingPool(size=BUFFER)
        self.reader = RecordReader(self.direction.opener, self.pool)
        self.line = b""
        self.sent = self.got = self.changes = 0

    @rule(count=st.one_of(st.integers(1, 300), st.integers(MAX_DATA - 2, 3 * MAX_DATA)))
    def send(self, count: int) -> None:
        self.line += self.direction.batch(content(self.sent, count))
        self.sent += count

    @precondition(lambda self: self.changes < FREE_CHANGES)
    @rule()
    def change_the_key(self) -> None:
        self.changes += not self.direction.sealer.change_due
        self.direction.sealer.change_due = True

    @precondition(lambda self: self.changes < FREE_CHANGES)
    @rule(cut=st.integers(1, len(KEY_UPDATE) - 1))
    def change_the_key_in_two_records(self, cut: int) -> None:
        sealer = self.direction.sealer
        self.line += self.direction.sealed(HANDSHAKE, KEY_UPDATE[:cut]) + self.direction.sealed(HANDSHAKE, KEY_UPDATE[cut:])
        sealer._change()
        self.changes += 1

    @rule(count=st.one_of(st.integers(1, 30), st.integers(1, 40_000)), take=st.booleans())
    def deliver(self, count: int, take: bool) -> None:
        count = min(count, len(self.line), len(self.reader.space()))
        self.reader.space()[:count] = self.line[:count]
        self.reader.filled(count)
        self.line = self.line[count:]
        if take:
            self._take()

    @rule()
    def move_the_sender(self) -> None:
        self.direction.sealer = Sealer.of(self.direction.sealer.take())

    @rule()
    def move_the_receiver(self) -> None:
        rest, state = self.reader.take_rest(), self.direction.opener.take()
        assert self.pool.lent == 0
        self.direction.opener = Opener.of(state)
        self.reader = RecordReader(self.direction.opener, self.pool)
        if rest:
            self.reader.space()[: len(rest)] = rest
            self.reader.filled(len(rest))

    def teardown(self) -> None:
        while self.line or self.reader.whole:
            self.deliver(len(self.line), take=True)
        assert self.got == self.sent

    def _take(self) -> None:
        buffer = memoryview(bytearray(2 * ROOM))
        came = self.reader.take(buffer)
        assert buffer[:came] == content(self.got, came)
        self.got += came


TestMoving = Moving.TestCase
TestMoving.settings = settings(max_examples=30, stateful_step_count=30)
