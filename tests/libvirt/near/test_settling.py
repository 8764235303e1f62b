"""After a failure: where the domain is, and what is done. Whole migrations are in tests/integration/libvirt_moves."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from nbdtun.errors import GuestLost, LibvirtError, LinkLost, MigrationError, MirrorFailed, OutcomeUnknown, ResumeRefused
from nbdtun.libvirt.domain import Domain
from nbdtun.libvirt.near.settling import settle
from nbdtun.libvirt.near.survey import Survey
from nbdtun.libvirt.values import Fate

FOUND = Survey(Domain("web1", "11111111-2222-3333-4444-555555555555"), "<domain/>", ())
RUNNING, PAUSED, SHUTOFF, BY_US, BROKEN = (1, 1), (3, 2), (5, 5), (3, 1), (3, 5)


@define
class Here:
    """The source's libvirt, with a domain in this state, and what was done to it."""

    now: tuple[int, int] | None
    deaf: tuple[str, ...] = ()
    done: list[str] = field(factory=list)

    async def state(self) -> tuple[int, int] | None:
        self.hear("state")
        return self.now

    async def pause(self) -> None:
        self.hear("pause")
        self.done.append("pause")

    async def resume(self) -> None:
        self.hear("resume")
        self.done.append("resume")

    def hear(self, what: str) -> None:
        if what in self.deaf:
            raise LibvirtError("no answer")


@define
class There:
    """The far end, whose libvirt says this; None: it cannot be asked."""

    fate: Fate | None
    arrived: bool | None = None
    once: bool = False

    async def finish(self, uuid: str, *, arrived: bool, once: bool) -> Fate:
        assert uuid == FOUND.domain.uuid
        self.arrived, self.once = arrived, once
        if self.fate is None:
            raise OutcomeUnknown("the destination could not be asked")
        return self.fate


def settled(
    here: Here, there: There, found: Survey = FOUND, *, why: Exception | None = None, handed_over: bool = True, **more: Any
) -> bool:
    got: list[Any] = []
    job: Any = here
    session: Any = there
    failed = why or MirrorFailed("it failed")
    Deferred.fromCoroutine(settle(job, session, found, "web1", failed, handed_over=handed_over, **more)).addBoth(got.append)
    if isinstance(got[0], Failure):
        got[0].raiseException()
    return bool(got[0])


def test_it_runs_here_and_nothing_is_there() -> None:
    here, there = Here(RUNNING), There(Fate())
    assert not settled(here, there)
    assert (here.done, there.arrived) == ([], False)


def test_it_is_gone_here_and_runs_there() -> None:
    for gone in (None, SHUTOFF):
        here, there = Here(gone), There(Fate("running", "migrated", has_run=True))
        assert settled(here, there)
        assert there.arrived


def test_one_that_was_not_handed_over_has_ended_here() -> None:
    """Its guest has shut itself down, or its QEMU was ended: the far end must not keep half an image for it."""
    for gone in (None, SHUTOFF):
        for fate in (Fate(), None):
            there = There(fate)
            with pytest.raises(MigrationError, match="it failed; web1 has ended here, and has not run at the destination; start it here"):
                settled(Here(gone), there, handed_over=False)
            assert there.arrived is False


def test_one_that_was_handed_over_has_ended_here_and_never_ran_there() -> None:
    with pytest.raises(MigrationError, match="has ended here, and has not run at the destination"):
        settled(Here(SHUTOFF), There(Fate()))


def test_it_has_moved_and_is_lost_there() -> None:
    for state in ("", "shutoff", "crashed"):
        with pytest.raises(GuestLost, match=f"web1 has moved, and is {state or 'gone'} there"):
            settled(Here(None), There(Fate(state, has_run=True)))


@pytest.mark.parametrize(("handed_over", "kind"), [(True, OutcomeUnknown), (False, MigrationError)])
def test_libvirt_here_does_not_answer(handed_over: bool, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="it failed; libvirt here cannot be asked what became of web1: no answer") as caught:
        settled(Here(RUNNING, deaf=("state",)), There(Fate()), handed_over=handed_over)
    assert type(caught.value) is kind


def test_libvirt_here_does_not_pause_it() -> None:
    with pytest.raises(OutcomeUnknown, match="runs at the destination too, and cannot be paused here: no answer"):
        settled(Here(RUNNING, deaf=("pause",)), There(Fate("running", has_run=True)))


def test_libvirt_here_does_not_let_it_run_on() -> None:
    with pytest.raises(MigrationError, match="web1 stands still here, and libvirt does not let it run on: no answer; virsh resume web1"):
        settled(Here(PAUSED, deaf=("resume",)), There(Fate()))


def test_it_was_left_paused_here_and_has_not_run_there() -> None:
    here = Here(PAUSED)
    assert not settled(here, There(Fate()))
    assert here.done == ["resume"]


def test_one_whose_own_disk_has_failed_is_not_woken() -> None:
    for there in (There(Fate()), There(None)):
        here = Here(BROKEN)
        assert not settled(here, there)
        assert here.done == []


def test_one_that_was_paused_before_stays_so() -> None:
    here = Here(PAUSED)
    assert not settled(here, There(Fate()), Survey(FOUND.domain, "<domain/>", (), runs=False))
    assert here.done == []


def test_two_never_run() -> None:
    here = Here(RUNNING)
    with pytest.raises(OutcomeUnknown, match="runs at the destination too, so it is paused here; use --resolve"):
        settled(here, There(Fate("running", "migrated", has_run=True)))
    assert here.done == ["pause"]


def test_nobody_can_be_asked_and_it_is_paused_here() -> None:
    here = Here(PAUSED)
    with pytest.raises(OutcomeUnknown, match="it failed; the destination could not be asked; use --resolve"):
        settled(here, There(None))
    assert here.done == []


def test_nobody_can_be_asked_and_it_runs_here() -> None:
    assert not settled(Here(RUNNING), There(None))


def test_nobody_can_be_asked_and_we_have_paused_it() -> None:
    here = Here(BY_US)
    assert not settled(here, There(None), forced=True)
    assert here.done == ["resume"]


def test_a_daemon_that_has_ended_is_waited_for_where_the_guest_stands_still() -> None:
    gone = ResumeRefused("the daemon has ended")
    lost = LinkLost("the control channel was lost")
    lost.__cause__ = gone
    for why in (gone, lost):
        for state, once in ((RUNNING, True), (PAUSED, False), (SHUTOFF, False)):
            there = There(Fate("running", "migrated", has_run=state is SHUTOFF))
            settled(Here(state), there, why=why)
            assert there.once is once
    there = There(Fate())
    settled(Here(RUNNING), there)
    assert not there.once
