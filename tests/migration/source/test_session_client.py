"""The source's client with its session: lost for good, or found again with another daemon."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater

from nbdtun.errors import DestinationFailed, LinkLost, NbdtunError, NoAnswer, NotMigratable, ProtocolViolation, ShuttingDown
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import BY_SOURCE, Abort, Prepare, Query
from nbdtun.migration.progress import LinkState
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.session_client import SessionClient
from nbdtun.migration.vm.bitmaps import Awaited
from nbdtun.versions import Agreed, Speaks
from tests.migration.stage.machines import departure

SESSION = "ab" * 16


class Channel(Control):
    """A control channel that answers as told, until it is lost."""

    def __init__(self, clock: Clock | None = None, **answers: Any) -> None:
        super().__init__(clock or Clock())
        self._waits = clock or Clock()
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self._answers = answers
        self._losing: list[Deferred[LinkLost]] = []

    async def ask(self, command: Any, *, seconds: float | None, **arguments: Any) -> dict[str, Any]:
        self.asked.append((command, arguments))
        answer = self._answers.get(command.__name__)
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            assert seconds is not None
            await deferLater(self._waits, seconds)
            raise NoAnswer(f"the destination has not answered {command.__name__}")
        return dict(answer)

    def when_lost(self) -> Deferred[LinkLost]:
        self._losing.append(Deferred())
        return self._losing[-1]

    def lose(self) -> None:
        for waiting in self._losing:
            waiting.callback(LinkLost("the daemon has died"))


class Carrier:
    """Hands out the channels that there are, one after the other."""

    link = LinkState()

    def __init__(self, *channels: Channel | NbdtunError) -> None:
        self.channels = list(channels)

    async def control(self, protocol: Any) -> Any:
        channel = self.channels.pop(0)
        if isinstance(channel, NbdtunError):
            raise channel
        return channel


PREPARED = {**Agreed(1).fields(), "target": f"nbd.{SESSION}", "findings": [], "qemu": "one"}


def client(*channels: Channel | NbdtunError, clock: Clock | None = None) -> tuple[SessionClient, list[Exception]]:
    alarms: list[Exception] = []
    carrier: Any = Carrier(*channels)
    return SessionClient(clock or Clock(), carrier, SESSION, MigrationSettings(vm="web1"), alarms.append), alarms


def done(work: Any) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    results: list[Any] = []
    failures: list[Any] = []
    Deferred.fromCoroutine(work).addCallbacks(results.append, failures.append)
    if failures:
        raise failures[0].value
    assert results, "it waits"
    return results[0]


def prepared(*channels: Channel | NbdtunError, clock: Clock | None = None) -> tuple[SessionClient, list[Exception]]:
    speaking, alarms = client(*channels, clock=clock)
    done(speaking.open())
    assert done(speaking.prepare(departure())) == (PREPARED["target"], ())
    return speaking, alarms


def test_a_daemon_that_was_started_again_is_found_again() -> None:
    first, second = Channel(Prepare=PREPARED), Channel(Prepare=PREPARED, Listen={"target": "ram", "bitmaps": [], "connections": 8})
    speaking, alarms = prepared(first, second)
    first.lose()
    assert alarms == []
    assert speaking.lost is None
    assert speaking.control is second
    assert first.asked == second.asked  # the same session, the same machine, the same disks
    assert done(speaking.listen((), 8)) == Awaited("ram", (), 8)


@pytest.mark.parametrize(("wanted", "answer", "taken"), [(4, 4, 4), (4, None, 0), (0, None, 0)])
def test_a_destination_may_take_the_memory_over_one_connection_only(wanted: int, answer: int | None, taken: int) -> None:
    speaking, _ = prepared(Channel(Prepare=PREPARED, Listen={"target": "ram", "bitmaps": [], "connections": answer}))
    assert done(speaking.listen((), wanted)).connections == taken


@pytest.mark.parametrize(("wanted", "answer"), [(4, 3), (4, 200), (0, 3)])
def test_but_not_over_another_number_of_them(wanted: int, answer: int) -> None:
    speaking, _ = prepared(Channel(Prepare=PREPARED, Listen={"target": "ram", "bitmaps": [], "connections": answer}))
    with pytest.raises(ProtocolViolation, match=f"the destination takes the memory over {answer} connections, and was asked for {wanted}"):
        done(speaking.listen((), wanted))


def test_a_daemon_of_a_later_release_goes_on_with_what_was_agreed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was there chose the first of two versions; the next one must not choose the second for the same session."""
    speaks = Speaks("the migration protocol", 1, 2, frozenset({"ghosts", "z"}))
    for user in ("check.departure", "source.session_client"):
        monkeypatch.setattr(f"nbdtun.migration.{user}.MIGRATION", speaks)
    first, second = (Channel(Prepare=PREPARED | Agreed(1, frozenset({"z"})).fields()) for _ in range(2))
    speaking, _ = prepared(first, second)
    first.lose()
    offered = [{name: asked[0][1][name] for name in speaks.offer()} for asked in (first.asked, second.asked)]
    assert offered == [speaks.offer(), {"lowest": 1, "highest": 1, "features": frozenset({"z"})}]
    assert speaking.lost is None


def test_and_again() -> None:
    channels = [Channel(Prepare=PREPARED) for _ in range(3)]
    speaking, alarms = prepared(*channels)
    channels[0].lose()
    channels[1].lose()
    assert alarms == []
    assert speaking.control is channels[2]


@pytest.mark.parametrize("refusal", [LinkLost("no connection"), ShuttingDown("web1: the destination's daemon is shutting down")])
def test_one_that_is_not_there_or_shutting_down_may_be_followed_by_another(refusal: NbdtunError) -> None:
    first, last = Channel(Prepare=PREPARED), Channel(Prepare=PREPARED)
    clock = Clock()
    speaking, alarms = prepared(first, refusal, Channel(Prepare=refusal), last, clock=clock)
    first.lose()
    assert str(speaking.lost) == "the daemon has died"
    clock.pump([1, 1])
    assert alarms == []
    assert speaking.control is last


def test_it_is_not_looked_for_for_ever() -> None:
    first, clock = Channel(Prepare=PREPARED), Clock()
    speaking, alarms = prepared(first, *(LinkLost("no connection") for _ in range(20)), clock=clock)
    first.lose()
    clock.pump([1] * 9)
    assert alarms == []
    clock.pump([1, 1])
    assert [str(alarm) for alarm in alarms] == ["the daemon has died"] == [str(speaking.lost)]


@pytest.mark.parametrize(("mark", "same"), [("one", True), (None, True), ("another", False)])
def test_it_goes_on_in_the_same_qemu_only(mark: str | None, same: bool) -> None:
    """A daemon of an earlier release says nothing about it."""
    first, second = Channel(Prepare=PREPARED), Channel(Prepare=PREPARED | {"qemu": mark})
    speaking, alarms = prepared(first, second)
    first.lose()
    why = (
        "web1: QEMU was started again at the destination while its disks were copied; what they had received may be lost; migrate it again"
    )
    assert [str(alarm) for alarm in alarms] == [] if same else [why]
    assert (speaking.lost is None) is same


def test_one_that_is_lost_while_it_is_asked_is_noticed_once() -> None:
    first, second, third = Channel(Prepare=PREPARED), Channel(Prepare=LinkLost("gone")), Channel(Prepare=PREPARED)
    clock = Clock()
    speaking, alarms = prepared(first, second, third, clock=clock)
    first.lose()
    second.lose()
    clock.advance(1)
    assert alarms == []
    assert speaking.control is third


def test_one_that_knows_the_session_is_the_end() -> None:
    first = Channel(Prepare=PREPARED)
    speaking, alarms = prepared(first, Channel(Prepare=NotMigratable("this session exists already")))
    first.lose()
    assert [str(alarm) for alarm in alarms] == ["the daemon has died"] == [str(speaking.lost)]


def test_nothing_is_found_again_before_there_is_a_session_or_once_the_memory_is_asked_for() -> None:
    early = Channel()
    speaking, alarms = client(early)
    done(speaking.open())
    early.lose()
    late = Channel(Prepare=PREPARED, Listen={"target": "ram", "bitmaps": []})
    speaking, more = prepared(late)
    done(speaking.listen())
    late.lose()
    assert len(alarms) == len(more) == 1
    assert speaking.lost is None


def test_listen_waits_for_a_session_that_is_just_found_again() -> None:
    first, second = Channel(Prepare=PREPARED), Channel()
    speaking, _ = prepared(first, second)
    first.lose()
    assert str(speaking.lost) == "the daemon has died"
    listening = Deferred.fromCoroutine(speaking.listen())
    assert [command for command, _ in second.asked] == [Prepare]
    Deferred.fromCoroutine(speaking.abort())
    assert Abort in [command for command, _ in second.asked]
    listening.addErrback(lambda _: None)


def test_listen_that_waits_for_that_can_be_cancelled() -> None:
    first, second = Channel(Prepare=PREPARED), Channel()
    speaking, _ = prepared(first, second)
    first.lose()
    failed: list[object] = []
    listening = Deferred.fromCoroutine(speaking.listen())
    listening.addErrback(lambda failure: failed.append(failure.type))
    listening.cancel()
    assert failed == [CancelledError]
    assert [command for command, _ in second.asked] == [Prepare]


def test_abort_and_diagnose_never_fail() -> None:
    broken = Channel(Prepare=PREPARED, Abort=DestinationFailed("no"), Query=LinkLost("gone"))
    speaking, _ = prepared(broken)
    done(speaking.abort())
    assert done(speaking.diagnose()) == ""
    assert [command for command, _ in broken.asked] == [Prepare, Abort, Query]


@pytest.mark.parametrize(("reason", "told"), [("vda: no space left", "vda: no space left"), (BY_SOURCE, "")])
def test_what_the_source_itself_has_done_is_no_diagnosis(reason: str, told: str) -> None:
    speaking, _ = prepared(Channel(Prepare=PREPARED, Query={"reason": reason}))
    assert done(speaking.diagnose()) == told


def test_a_destination_that_does_not_answer() -> None:
    clock = Clock()
    carrier: Any = Carrier(Channel(clock, Prepare=PREPARED))
    speaking = SessionClient(clock, carrier, SESSION, MigrationSettings(vm="web1"), lambda error: None)
    done(speaking.open())
    done(speaking.prepare(departure()))
    failures: list[Any] = []
    Deferred.fromCoroutine(speaking.listen()).addErrback(failures.append)
    clock.advance(speaking._settings.steps.answer)
    assert isinstance(failures[0].value, NoAnswer)
    assert "has not answered Listen" in str(failures[0].value)
