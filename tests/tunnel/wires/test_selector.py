"""The selector on real sockets and an epoll of its own; only the reactor above it is turned by hand."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from twisted.python.failure import Failure

from nbdtun.tunnel.wires.plain import Wire
from nbdtun.tunnel.wires.selector import READS, Selector
from tests.tunnel.stage.crank import Crank


class User:
    """Notes what its wire tells, and reads what there is."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.reads = 0  # that it was allowed when it was told last
        self.wire: Wire
        self.rival: User | None = None  # whose wire it closes before it reads
        self.again = 0  # how often it wants to read again

    def wire_readable(self) -> None:
        if self.rival is not None:
            self.rival.wire.close()
        self.reads = self.wire.selector.reads
        buffer = memoryview(bytearray(100))
        count = self.wire.read_into(buffer)
        self.told.append(bytes(buffer[:count]) if count is not None else None)
        if self.again:
            self.again -= 1
            self.wire.selector.read_again(self.wire)
        elif count == 0:
            self.wire.close()

    def wire_writable(self) -> None:
        self.told.append("room")

    def wire_lost(self, reason: Exception) -> None:
        self.told.append(reason)
        self.wire.close()


class Woken(Crank):
    """A reactor that other threads wake by a descriptor, as Twisted's are."""

    def __init__(self) -> None:
        super().__init__()
        self.waker, self._far = socket.socketpair()

    def wake(self) -> None:
        self._far.send(b"x")


@pytest.fixture
def selector(crank: Crank) -> Selector:
    return Selector(crank, linger=0)


def wired(selector: Selector) -> tuple[User, socket.socket]:
    ours, theirs = socket.socketpair()
    user = User()
    user.wire = Wire(selector, ours, user)
    return user, theirs


class TestTelling:
    def test_what_comes_is_told(self, crank: Crank, selector: Selector) -> None:
        user, program = wired(selector)
        user.wire.listen(True)
        program.send(b"hello")
        crank.rest()
        assert user.told == [b"hello"]

    def test_room_is_told_once(self, crank: Crank, selector: Selector) -> None:
        user, _program = wired(selector)
        user.wire.want_room()
        crank.rest()
        assert user.told == ["room"]

    def test_an_end_is_told(self, crank: Crank, selector: Selector) -> None:
        user, program = wired(selector)
        user.wire.listen(True)
        program.close()
        crank.rest()
        assert user.told == [b""]

    def test_who_does_not_listen_hears_nothing(self, crank: Crank, selector: Selector) -> None:
        user, program = wired(selector)
        user.wire.listen(True)
        user.wire.listen(False)
        program.send(b"hello")
        program.close()
        crank.rest()
        assert user.told == []

    def test_who_waits_for_room_finds_out_that_there_is_nobody(self, crank: Crank, selector: Selector) -> None:
        user, program = wired(selector)
        user.wire.want_room()
        program.close()
        crank.rest()
        with pytest.raises(BrokenPipeError):
            user.wire.write(memoryview(b"x"))

    def test_bytes_that_no_descriptor_shows_are_asked_for(self, crank: Crank, selector: Selector) -> None:
        user, _program = wired(selector)
        user.wire.listen(True)
        selector.read_again(user.wire)
        crank.rest()
        assert user.told == [None]

    def test_also_when_the_reactor_gets_its_turn_between(self, crank: Crank) -> None:
        selector = Selector(crank, linger=0, stay=0)
        user, program = wired(selector)
        user.wire.listen(True)
        user.again = 3
        program.send(b"hello")
        crank.rest()
        assert user.told == [b"hello", None, None, None]

    def test_who_does_not_listen_any_more_is_not_asked(self, crank: Crank, selector: Selector) -> None:
        user, _program = wired(selector)
        other, _ = wired(selector)
        for each in (user, other):
            each.wire.listen(True)
            selector.read_again(each.wire)
        user.wire.listen(False)
        crank.rest()
        assert user.told == []
        assert other.told == [None]

    def test_one_that_is_closed_by_another_in_the_same_round_is_left_alone(self, crank: Crank, selector: Selector) -> None:
        (first, one), (second, two) = wired(selector), wired(selector)
        for mine, other in ((first, second), (second, first)):
            mine.wire.listen(True)
            mine.rival = other
        one.send(b"x")
        two.send(b"x")
        crank.rest()
        assert first.wire.closed != second.wire.closed
        assert first.told + second.told == [b"x"]


class TestTheReactor:
    def test_it_has_one_descriptor_for_all_wires(self, crank: Crank, selector: Selector) -> None:
        users = [wired(selector) for _ in range(3)]
        for user, _ in users:
            user.wire.listen(True)
        assert crank.getReaders() == [selector]
        assert len(selector.getReaders()) == 3

    def test_and_none_when_there_is_no_wire(self, crank: Crank, selector: Selector) -> None:
        user, _program = wired(selector)
        assert crank.getReaders() == []
        user.wire.listen(True)
        user.wire.want_room()
        user.wire.close()
        assert crank.getReaders() == []
        assert selector.fileno() == -1

    def test_it_gets_its_turn_however_much_is_going_on(self, crank: Crank) -> None:
        selector = Selector(crank, linger=0, stay=0)
        user, program = wired(selector)
        user.wire.listen(True)
        program.send(bytes(1000))
        crank.turn()
        assert len(user.told) == 1

    def test_nobody_lingers_while_another_thread_waits_for_the_reactor(self) -> None:
        crank = Woken()
        selector = Selector(crank, linger=60, stay=60)
        user, program = wired(selector)
        user.wire.listen(True)
        program.send(b"hello")
        crank.wake()
        begun = time.monotonic()
        crank.turn()
        assert user.told == [b"hello"]
        assert time.monotonic() - begun < 30

    def test_that_thread_is_no_reason_to_stay_away_from_the_wires(self) -> None:
        crank = Woken()
        selector = Selector(crank, linger=0)
        user, program = wired(selector)
        user.wire.listen(True)
        crank.wake()
        crank.turn()
        program.send(b"hello")
        crank.turn()
        assert user.told == [b"hello"]

    @pytest.mark.parametrize(("ready", "reads"), [(1, READS), (2, READS // 2), (READS, 1), (READS + 4, 1)])
    def test_those_who_are_ready_together_share_the_reads(self, crank: Crank, selector: Selector, ready: int, reads: int) -> None:
        pairs = [wired(selector) for _ in range(ready)]
        for user, program in pairs:
            user.wire.listen(True)
            program.send(b"hello")
        crank.turn()
        assert [user.reads for user, _ in pairs] == [reads] * ready

    def test_when_it_stops_all_wires_are_lost(self, crank: Crank, selector: Selector) -> None:
        user, _program = wired(selector)
        user.wire.listen(True)
        selector.connectionLost(Failure(ConnectionError("stopped")))
        assert [str(told) for told in user.told] == ["stopped"]
        assert crank.getReaders() == []


class Chatty(User):
    """Has its program say the next thing as soon as it has heard one."""

    def __init__(self, user: User, program: socket.socket, *words: bytes) -> None:
        super().__init__()
        self.wire, self.program, self.words = user.wire, program, list(words)
        self.wire.user = self

    def wire_readable(self) -> None:
        super().wire_readable()
        if self.words:
            self.program.send(self.words.pop(0))


class TestLookingOut:
    @pytest.fixture
    def yields(self, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
        """What happens when others are let run, in turn; then nothing."""
        acts: list[Callable[[], object]] = []
        self.count = 0

        def let_others_run() -> None:
            self.count += 1
            if acts:
                acts.pop(0)()

        monkeypatch.setattr(os, "sched_yield", let_others_run)
        for limit in "SPIN", "LIGHT":
            monkeypatch.setattr(f"nbdtun.tunnel.wires.selector.{limit}", 0.3)  # a slow machine is as brisk
        return acts

    def chat(self, selector: Selector, *words: bytes) -> Chatty:
        user, program = wired(selector)
        chatty = Chatty(user, program, *words)
        chatty.wire.listen(True)
        program.send(b"hello")
        return chatty

    def test_where_the_last_came_at_once_the_next_is_not_slept_for(self, crank: Crank, yields: list[Callable[[], object]]) -> None:
        chatty = self.chat(Selector(crank, linger=0), b"and at once")
        yields += [lambda: None, lambda: chatty.program.send(b"and soon")]
        crank.rest()
        assert chatty.told == [b"hello", b"and at once", b"and soon"]
        assert self.count >= 2

    def test_not_for_ever(self, crank: Crank, yields: list[Callable[[], object]]) -> None:
        chatty = self.chat(Selector(crank, linger=0), b"and at once")
        crank.rest()
        seen = self.count
        assert seen > 0
        chatty.program.send(b"and much later")
        crank.rest()
        assert chatty.told[-1] == b"and much later"
        assert self.count == seen

    def test_bulk_is_not_worth_it(self, crank: Crank, yields: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch) -> None:
        """What takes long to serve, that is."""
        monkeypatch.setattr("nbdtun.tunnel.wires.selector.LIGHT", 0)
        chatty = self.chat(Selector(crank), b"and at once")
        crank.rest()
        assert chatty.told == [b"hello", b"and at once"]
        assert self.count == 0

    def test_one_alone_is_not_worth_it(self, crank: Crank, yields: list[Callable[[], object]]) -> None:
        chatty = self.chat(Selector(crank))
        crank.rest()
        assert chatty.told == [b"hello"]
        assert self.count == 0


def test_a_bug_in_one_user_is_not_the_others_end(crank: Crank, selector: Selector) -> None:
    (faulty, one), (sound, two) = wired(selector), wired(selector)

    def fault() -> None:
        raise RuntimeError("a bug")

    faulty.wire_readable = fault  # type: ignore[method-assign]
    for user in (faulty, sound):
        user.wire.listen(True)
    one.send(b"x")
    two.send(b"hello")
    logged: list[Any] = []
    selector.log = type("Log", (), {"failure": lambda self, text, **said: logged.append(said["failure"].value)})()
    crank.rest()
    assert sound.told == [b"hello"]
    assert faulty.told == logged
    assert str(logged[0]) == "a bug"


@pytest.mark.parametrize("closes", [False, True])
def test_nor_is_a_bug_in_one_that_is_told_of_its_first(crank: Crank, selector: Selector, closes: bool) -> None:
    """The reactor would take the whole selector for broken, and with it all channels."""
    (faulty, one), (sound, two) = wired(selector), wired(selector)

    def fault(_: object = None) -> None:
        if closes:
            faulty.wire._socket.close()  # behind the selector's back
        raise RuntimeError("a bug")

    faulty.wire_readable = faulty.wire_lost = fault  # type: ignore[method-assign,assignment]
    for user in (faulty, sound):
        user.wire.listen(True)
    logged: list[str] = []
    selector.log = type("Log", (), {"failure": lambda self, text, **said: logged.append(text.format(**said))})()
    for word in (b"hello", b"again"):
        if word == b"hello":
            one.send(b"x")
        two.send(word)
        crank.rest()
    assert sound.told == [b"hello", b"again"]
    assert selector.getReaders() == [sound.wire]
    assert len(logged) == 2
    assert logged[1].startswith("another bug in the user of <Wire ")


def test_a_wire_that_cannot_be_watched_is_not_taken_for_watched(selector: Selector) -> None:
    user, _ = wired(selector)
    selector._open()
    assert selector._epoll is not None
    selector._epoll.register(user.wire.fileno(), 0)  # so that it cannot be once more
    with pytest.raises(FileExistsError):
        selector.addReader(user.wire)
    assert selector.getReaders() == []
