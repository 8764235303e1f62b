"""The doorkeeper: however its bytes are split, each message gets to one process, whole and in its order."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from nbdtun.amp import Object
from nbdtun.errors import LinkLost
from nbdtun.service.succession import doorkeeper
from nbdtun.service.succession.doorkeeper import LONGEST, About, Doorkeeper, about
from tests.tunnel.stage.stranger import box

PING = box(_command="Ping", _ask="1")
CHECK = box(_command="Check", _ask="2", vm="web1")
PREPARE = box(_command="Prepare", _ask="3", vm="web1", session="5" * 32)
QUERY = box(_command="Query", _ask="4", vm="web1", session="6" * 32)
UUID = "11111111-0000-0000-0000-000000000000"
OUTCOME = box(_command="LibvirtOutcome", _ask="5", uuid=UUID, end="False")
WANTED = box(_command="LibvirtPrepare", _ask="6", session="7" * 32, wanted=Object().toString({"uuid": UUID}))
ANSWER = box(_answer="1", vm="web1")


class Inner(Protocol):
    def __init__(self) -> None:
        self.got = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.got += data

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = True


class Door:
    """A doorkeeper; the other process has what is in `theirs`, and answers `late`, if it does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch | None = None, theirs: tuple[str, ...] = (), late: bool = False) -> None:
        self.inner = Inner()
        self.given: list[bytes] = []
        self.asked: list[tuple[str | None, str | None, str | None]] = []
        self.answers: list[Deferred[bool]] = []
        self._theirs, self._late = theirs, late
        self.keeper = Doorkeeper(self.inner, self._elsewhere, self._give)
        self.transport = StringTransport()
        self.keeper.makeConnection(self.transport)
        if monkeypatch is not None:
            monkeypatch.setattr(doorkeeper, "detach", lambda transport: socket.socket())

    async def _elsewhere(self, vm: str | None, session: str | None, uuid: str | None) -> bool:
        self.asked.append((vm, session, uuid))
        if not self._late:
            return any(each in self._theirs for each in (vm, session, uuid))
        self.answers.append(Deferred())
        return await self.answers[-1]

    async def _give(self, sock: socket.socket, said: bytes) -> None:
        sock.close()
        self.given.append(said)


def test_what_a_message_is_about() -> None:
    assert about(PREPARE + b"more") == About(len(PREPARE), "Prepare", "web1", "5" * 32)
    assert about(PING) == About(len(PING), "Ping")
    assert about(ANSWER) == About(len(ANSWER), "", "web1")
    assert about(OUTCOME) == About(len(OUTCOME), "LibvirtOutcome", uuid=UUID)
    assert about(WANTED) == About(len(WANTED), "LibvirtPrepare", session="7" * 32, uuid=UUID)
    for nonsense in (b"", b"no JSON", Object().toString({"uuid": 1}), Object().toString({"uuid": "1" * 37}), Object().toString({})):
        assert about(box(_command="LibvirtLook", wanted=nonsense)).uuid is None  # type: ignore[union-attr]
    assert all(about(PREPARE[:cut]) is None for cut in range(len(PREPARE)))


@given(st.lists(st.sampled_from([PING, CHECK, PREPARE, QUERY, ANSWER])), st.lists(st.integers(1, 60)))
def test_whatever_is_for_here_arrives_as_it_is(messages: list[bytes], cuts: list[int]) -> None:
    door, data = Door(), b"".join(messages)
    for cut in [*cuts, len(data)]:
        if data[:cut]:
            door.keeper.dataReceived(data[:cut])
        data = data[cut:]
    assert door.inner.got == b"".join(messages)
    assert not door.given
    asked = [each for each in messages if each in (CHECK, PREPARE, QUERY)]
    assert len(door.asked) == (asked.index(PREPARE) + 1 if PREPARE in asked else len(asked))


@pytest.mark.parametrize("question", [OUTCOME, WANTED])
def test_what_is_about_another_ones_domain_goes_there(question: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(monkeypatch, (UUID,))
    door.keeper.dataReceived(question)
    assert door.given == [question]


@pytest.mark.parametrize("theirs", ["web1", "6" * 32])
def test_what_is_about_another_ones_vm_goes_there(theirs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(monkeypatch, (theirs,))
    door.keeper.dataReceived(PING + QUERY + PING[:5])
    assert door.inner.got == PING
    assert door.inner.lost
    assert door.given == [QUERY + PING[:5]]


def test_nothing_is_read_while_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    door = Door(monkeypatch, late=True)
    door.keeper.dataReceived(CHECK)
    door.keeper.dataReceived(PING)
    assert door.transport.producerState == "paused"
    assert not door.inner.got
    door.answers[0].callback(False)
    assert door.transport.producerState == "producing"
    assert door.inner.got == CHECK + PING
    door.keeper.dataReceived(QUERY)
    door.answers[1].callback(True)
    assert door.given == [QUERY]


def test_where_there_is_no_answer_the_source_asks_again(said: list[str]) -> None:
    door = Door(late=True)
    door.keeper.dataReceived(CHECK)
    door.answers[0].errback(LinkLost("it does not answer"))
    assert door.transport.disconnecting
    assert said == ["control channel closed: it does not answer"]


def test_one_that_is_lost_meanwhile_asks_no_more() -> None:
    door = Door(late=True)
    door.keeper.dataReceived(CHECK)
    door.keeper.connectionLost(Failure(LinkLost("it is gone")))
    assert door.answers[0].called
    assert door.inner.lost


def test_a_message_without_an_end_is_refused_behind_it() -> None:
    door = Door()
    field = b"\x00\x02ab\xff\xff" + bytes(0xFFFF)
    endless = field * (LONGEST // len(field) + 1)
    for at in range(0, len(endless), 1 << 16):
        door.keeper.dataReceived(endless[at : at + (1 << 16)])
    door.keeper.dataReceived(field)
    assert door.inner.got.startswith(endless[:LONGEST])
    assert not door.asked
