"""`--resolve` on paper: what the source makes of the two libvirts' answers."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nbdtun.errors import MigrationError, NotMigratable, OutcomeUnknown
from nbdtun.libvirt.near.departure import Plan
from nbdtun.libvirt.near.resolve import Settlement
from nbdtun.libvirt.values import Fate
from nbdtun.migration.progress import LinkState, Phase
from nbdtun.migration.settings import MigrationSettings

UUID = "11111111-2222-3333-4444-555555555555"
PAUSED, BY_USER, RUNNING = (3, 2), (3, 1), (1, 1)


@define
class Here:
    """The source's libvirt, with web1 in a state, and what was done to it."""

    now: tuple[int, int]
    persistent: bool = False
    done: list[Any] = field(factory=list)

    async def do(self, work: Any) -> Any:
        return work(self)

    def lookupByName(self, name: str) -> Here:
        return self

    lookupByUUIDString = lookupByName

    def state(self) -> tuple[int, int]:
        return self.now

    def UUIDString(self) -> str:
        return UUID

    def isPersistent(self) -> bool:
        return self.persistent

    def destroy(self) -> None:
        self.done.append("destroy")

    def undefineFlags(self, flags: int) -> None:
        self.done.append(("undefine", flags))

    def resume(self) -> None:
        self.done.append("resume")


class There:
    """The far end's session, which knows this."""

    def __init__(self, fate: Fate | None) -> None:
        self.fate = fate

    async def outcome(self, uuid: str, *, end: bool) -> Fate:
        assert (uuid, end) == (UUID, True)
        if self.fate is None:
            raise OutcomeUnknown("nobody answers")
        return self.fate

    def close(self) -> None:
        pass


def resolve(here: Here, fate: Fate | None, **settings: Any) -> Phase:
    got: list[Any] = []
    libvirt: Any = here
    carrier: Any = type("Carrier", (), {"link": LinkState()})
    plan = Plan(MigrationSettings(vm="web1", **settings))
    settlement = Settlement(Clock(), libvirt, carrier, plan, lambda progress: None)
    settlement._session = There(fate)  # type: ignore[assignment]
    Deferred.fromCoroutine(settlement.run()).addBoth(got.append)
    if isinstance(got[0], Failure):
        got[0].raiseException()
    phase: Phase = got[0].phase
    return phase


def test_it_has_arrived_and_the_one_here_is_ended() -> None:
    for here, done in ((Here(PAUSED), ["destroy"]), (Here(PAUSED, persistent=True), ["destroy", ("undefine", 8)])):
        assert resolve(here, Fate("running", "migrated", has_run=True)) is Phase.COMPLETED
        assert here.done == done


def test_or_its_definition_is_kept() -> None:
    here = Here(PAUSED, persistent=True)
    assert resolve(here, Fate("running", "migrated", has_run=True), keep_source=True) is Phase.COMPLETED
    assert here.done == ["destroy"]


def test_it_has_not_arrived_and_runs_on() -> None:
    here = Here(PAUSED)
    with pytest.raises(MigrationError, match="did not arrive and never will; it runs at the source again"):
        resolve(here, Fate(begun=True))
    assert here.done == ["resume"]


def test_nobody_can_be_asked() -> None:
    here = Here(PAUSED)
    with pytest.raises(OutcomeUnknown):
        resolve(here, None)
    assert here.done == []


def test_one_that_runs_has_no_unknown_outcome() -> None:
    with pytest.raises(NotMigratable, match="is not paused at the source; there is nothing to resolve"):
        resolve(Here(RUNNING), Fate())


def test_nor_has_one_that_its_operator_has_paused() -> None:
    here = Here(BY_USER)
    with pytest.raises(NotMigratable, match="paused at the source by its operator"):
        resolve(here, Fate())
    assert here.done == []
