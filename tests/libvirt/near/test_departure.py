"""The end of a migration on paper: what is reported, and what is kept for later. Whole ones are in tests/integration/libvirt_moves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from nbdtun.errors import GuestLost, LibvirtError, MigrationError, OutcomeUnknown
from nbdtun.libvirt.domain import Domain
from nbdtun.libvirt.near import departure as module
from nbdtun.libvirt.near.departure import Departure, Plan
from nbdtun.libvirt.near.job import Seen
from nbdtun.libvirt.near.pending import pending
from nbdtun.libvirt.near.survey import Survey
from nbdtun.libvirt.near.way import Handover
from nbdtun.libvirt.values import Fate, Found, Prepared
from nbdtun.migration.progress import LinkState, Phase
from nbdtun.migration.settings import MigrationSettings
from tests.libvirt.stage import SESSION, UUID

RUNNING, SHUTOFF = (1, 1), (5, 1)
RUNS_THERE = Fate("running", "migrated", has_run=True)


@define
class Played:
    """libvirt's job at the source, the session at the far end, and the tunnel, as the play has them."""

    state: Path
    now: tuple[int, int] | None = RUNNING
    fate: Fate = field(factory=Fate)
    call: Deferred[None] = field(factory=Deferred)
    handover: list[Handover] = field(factory=list)
    said: list[Any] = field(factory=list)
    phases: list[Phase] = field(factory=list)
    got: list[Any] = field(factory=list)
    silent: Deferred[None] | None = None
    deaf: bool = False

    def begin(self, **settings: Any) -> None:
        part: Any = self
        plan = Plan(MigrationSettings(vm="web1", **settings), self.state)
        departure = Departure(Clock(), part, part, plan, lambda progress: self.phases.append(progress.phase))
        Deferred.fromCoroutine(departure.run()).addBoth(self.got.append)
        assert self.got == []

    def end(self, error: Exception | None = None) -> Any:
        """libvirt's call ends; returns what the whole ends with."""
        self.call.errback(error) if error is not None else self.call.callback(None)
        (got,) = self.got
        return got.value if isinstance(got, Failure) else got.phase

    @property
    def kept(self) -> bool:
        return pending(self.state, UUID).read() is not None

    # the tunnel's part
    link = LinkState()
    trouble = None

    def new_secret(self) -> bytes:
        return b""

    def guard(self, ward: Any) -> None:
        pass

    async def make(self, directory: str, session: str, owner: Any, handover: Handover) -> None:
        self.handover.append(handover)

    async def enter(self, target: str, name: str, **_: Any) -> None:
        pass

    async def remove(self) -> None:
        pass


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    play = Played(tmp_path)

    async def examine(*_: Any) -> Survey:
        return Survey(Domain("web1", UUID), "<domain/>", (), persistent="<domain/>")

    class Job:
        uuid, last = "", Seen()

        def __init__(self, libvirt: Any) -> None:
            pass

        def start(self, order: Any) -> Deferred[None]:
            return play.call

        async def state(self) -> tuple[int, int] | None:
            return play.now

        async def downtime(self) -> float:
            return 0.1

        async def pause(self) -> None:
            play.said.append("pause")

        async def end(self, *, undefine: bool) -> None:
            play.said.append(("end", undefine))
            if play.deaf:
                raise LibvirtError("no answer")

    class Session:
        ident, prepared = SESSION, False

        def __init__(self, *_: Any) -> None:
            pass

        async def open(self) -> None:
            pass

        async def look(self, wanted: Any) -> Found:
            return Found()

        async def prepare(self, wanted: Any) -> Prepared:
            self.prepared = True
            return Prepared("/run/d", "libvirt.1", "memory.1", "disks.1")

        async def finish(self, uuid: str, *, arrived: bool, once: bool = False) -> Fate:
            play.said.append(("finish", arrived))
            if play.silent is not None:
                await play.silent
            return play.fate

        def close(self) -> None:
            pass

    for name, each in (("examine", examine), ("Job", Job), ("FarSession", Session)):
        monkeypatch.setattr(module, name, each)
    return play


def test_it_has_moved(played: Played) -> None:
    played.begin()
    played.handover[0].begins()
    assert played.kept
    played.fate = RUNS_THERE
    assert played.end() is Phase.COMPLETED
    assert (played.said, played.kept, played.phases[-1]) == ([("finish", True)], False, Phase.COMPLETED)


@pytest.mark.parametrize("deaf", [False, True])
def test_one_that_is_kept_here_is_not_started_with_its_host(played: Played, deaf: bool) -> None:
    played.deaf = deaf
    played.begin(keep_source=True)
    played.fate = RUNS_THERE
    assert played.end() is Phase.COMPLETED
    assert played.said == [("end", False), ("finish", True)]


def test_it_has_ended_here_on_the_way(played: Played) -> None:
    played.begin()
    played.now = SHUTOFF
    error = played.end(LibvirtError("domain is not running"))
    assert type(error) is MigrationError
    assert f"{error}".startswith("domain is not running; web1 has ended here, and has not run at the destination")
    assert (played.said, played.phases[-1]) == ([("finish", False)], Phase.FAILED)


def test_it_has_moved_though_libvirt_does_not_say_so(played: Played) -> None:
    for fate, phase in ((RUNS_THERE, Phase.COMPLETED), (Fate("shutoff", has_run=True), Phase.LOST)):
        played.call, played.got, played.handover = Deferred(), [], []
        played.begin()
        played.handover[0].begins()
        played.now, played.fate = None, fate
        end = played.end(LibvirtError("client socket is closed"))
        assert isinstance(end, GuestLost) if phase is Phase.LOST else end is phase
        assert (played.phases[-1], played.kept) == (phase, False)


def test_two_run(played: Played) -> None:
    played.begin()
    played.handover[0].begins()
    played.fate = RUNS_THERE
    assert isinstance(played.end(LibvirtError("client socket is closed")), OutcomeUnknown)
    assert (played.said, played.phases[-1], played.kept) == ([("finish", False), "pause"], Phase.UNKNOWN, True)


def test_a_process_that_is_killed_while_the_far_end_is_silent_leaves_no_handover(played: Played) -> None:
    """libvirt has told where it runs."""
    played.begin()
    played.handover[0].begins()
    played.silent = Deferred()
    played.call.callback(None)
    assert (played.got, played.said, played.kept) == ([], [("finish", True)], False)
