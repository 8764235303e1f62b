"""Where a VM is whose QEMU here has ended, by what its destination says; integration/test_evacuate asks a real one."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import NotAllowed
from nbdtun.evacuation.outcome import Fate, Outcome
from nbdtun.evacuation.terms import Terms
from nbdtun.evacuation.values import Entry, Move
from nbdtun.service.evacuation.places import Places
from nbdtun.service.evacuation.whereabouts import Whereabouts

PLACES = Places(Terms(qmp="/run/{vm}.qmp", to=("hv2",), words=("--insecure",)))
GONE = Outcome(Fate.GONE, "monitor", "no monitor")


def found(monkeypatch: pytest.MonkeyPatch, answer: str | Exception) -> Outcome:
    async def state(whereabouts: Whereabouts, settings: Any, vm: str) -> str:
        assert vm == "web1"
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(Whereabouts, "_state", state)
    entry = Entry(Move("web1", "/run/web1.qmp", "hv2", ("hv2",)), to="hv2")
    asked = Deferred.fromCoroutine(Whereabouts(cast(Any, None), PLACES).find(entry, GONE))
    return cast(Outcome, asked.result)


@pytest.mark.parametrize(
    ("answer", "fate", "reason"),
    [
        ("running", Fate.ARRIVED, "no monitor"),
        ("suspended", Fate.ARRIVED, "no monitor"),
        ("paused", Fate.UNKNOWN, "it is not here any more (no monitor), and is paused at hv2"),
        ("", Fate.UNKNOWN, "it is not here any more (no monitor), and has no guest at hv2"),
        (NotAllowed("hv2 does not admit us"), Fate.UNKNOWN, "it is not here any more, and hv2 does not admit us"),
    ],
)
def test_what_its_destination_says(monkeypatch: pytest.MonkeyPatch, answer: str | Exception, fate: Fate, reason: str) -> None:
    outcome = found(monkeypatch, answer)
    assert (outcome.fate, outcome.reason) == (fate, reason)
