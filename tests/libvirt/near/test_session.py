"""The client of the session at the far end: what it asks, and how long it insists."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nbdtun.errors import DestinationFailed, LibvirtError, LinkLost, OutcomeUnknown, ResumeRefused
from nbdtun.libvirt.commands import LibvirtFinish, LibvirtOutcome
from nbdtun.libvirt.near.session import FarSession
from nbdtun.libvirt.values import Fate
from nbdtun.migration.settings import StepTimeouts

SESSION = "0123456789abcdef" * 2
UUID = "11111111-2222-3333-4444-555555555555"
THERE = Fate("running", "migrated", has_run=True)


class Far(FarSession):
    """A session whose far end gives these answers, one after the other, the last one for ever."""

    def __init__(self, *answers: Any, session: str = SESSION, secret: bytes = b"s") -> None:
        self.clock, self.asked = Clock(), list[tuple[str, Any]]()
        self._answers = list(answers)
        carrier: Any = None
        super().__init__(self.clock, carrier, session, secret, StepTimeouts(settle=5.0))

    async def open(self) -> None:
        pass

    async def _ask(self, command: Any, seconds: float, **arguments: Any) -> dict[str, Any]:
        self.asked.append((command.__name__, arguments))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return {"fate": answer}

    def told(self, asking: Any) -> Any:
        got: list[Any] = []
        Deferred.fromCoroutine(asking).addBoth(got.append)
        self.clock.pump([1.0] * 10)
        if isinstance(got[0], Failure):
            got[0].raiseException()
        return got[0]


def test_it_is_finished() -> None:
    far = Far(THERE)
    assert far.told(far.finish(UUID, arrived=True)) == THERE
    assert far.asked == [(LibvirtFinish.__name__, {"session": SESSION, "secret": b"s", "arrived": True})]


def test_a_lost_link_is_waited_for() -> None:
    far = Far(LinkLost("cut"), LinkLost("cut"), THERE)
    assert far.told(far.finish(UUID, arrived=True)) == THERE
    assert len(far.asked) == 3


def test_but_not_for_ever() -> None:
    far = Far(LinkLost("cut"))
    with pytest.raises(OutcomeUnknown, match="could not be asked what became of it: cut"):
        far.told(far.finish(UUID, arrived=True))
    assert len(far.asked) == 6


def test_nor_a_daemon_that_has_ended() -> None:
    far = Far(ResumeRefused("it has ended"), THERE)
    assert far.told(far.outcome(UUID, end=True)) == THERE, "another one was started"
    far = Far(ResumeRefused("it has ended"))
    with pytest.raises(OutcomeUnknown, match="could not be asked what became of it: it has ended"):
        far.told(far.finish(UUID, arrived=False, once=True))
    assert len(far.asked) == 1


def test_one_that_was_restarted_knows_the_domain_alone() -> None:
    for arrived in (True, False):
        far = Far(DestinationFailed("no such session"), THERE)
        assert far.told(far.finish(UUID, arrived=arrived)) == THERE
        name, asked = far.asked[-1]
        assert (name, asked["uuid"], asked["end"]) == (LibvirtOutcome.__name__, UUID, not arrived)


def test_one_whose_libvirt_fails_cannot_tell() -> None:
    far = Far(LibvirtError("libvirtd is not running"))
    with pytest.raises(OutcomeUnknown, match="cannot tell what became of it: libvirtd is not running"):
        far.told(far.outcome(UUID, end=True))


def test_the_outcome_is_that_of_the_session() -> None:
    far = Far(Fate())
    assert far.told(far.outcome(UUID, end=True)) == Fate()
    assert far.asked == [(LibvirtOutcome.__name__, {"session": SESSION, "secret": b"s", "uuid": UUID, "end": True})]


def test_a_later_process_that_does_not_know_it_asks_without() -> None:
    far = Far(Fate(), session="", secret=b"")
    assert far.told(far.outcome(UUID, end=True)) == Fate()
    assert far.asked == [(LibvirtOutcome.__name__, {"session": None, "secret": None, "uuid": UUID, "end": True})]


def test_nobody_is_told_what_nobody_knows() -> None:
    far = Far(Fate(has_run=True, doubtful=True))
    with pytest.raises(OutcomeUnknown, match="whether it has run there cannot be told; if its log there does not tell, decide"):
        far.told(far.outcome(UUID, end=True))
    assert len(far.asked) == 1
    assert far.told(far.outcome(UUID, end=True, decided=True)).doubtful, "it runs here by now"
