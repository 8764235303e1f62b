"""The commands of a source, answered; what arrives is played."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.test.iosim import FakeTransport, connect

from nbdtun.errors import DestinationFailed, NotAllowed, NotMigratable, ProtocolViolation
from nbdtun.libvirt.commands import LIBVIRT, LibvirtFinish, LibvirtLook, LibvirtOutcome, LibvirtPrepare
from nbdtun.libvirt.far.arrivals import Arrivals
from nbdtun.libvirt.far.control import LibvirtControl
from nbdtun.libvirt.values import Fate, Found, Prepared, Wanted
from nbdtun.migration.bond import Bond, Claim, Party
from nbdtun.migration.control.commands import Query
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.migration.source.session_client import SourceControl
from tests.libvirt.stage import SESSION, UUID, WANTED
from tests.migration.stage.talk import Pair

SECRET = b"s" * 32
PREPARED = Prepared("/run/d", "libvirt.1", "memory.1", "disks.1")
VMS: Mapping[str, str] = {}


class Played:
    """An arrival, and all of them."""

    def __init__(self) -> None:
        self.over = False
        self.did: list[Any] = []
        self.alive: Callable[[], Awaitable[bool]] | None = None

    async def look(self, wanted: Wanted) -> Found:
        self.did.append(("look", wanted))
        return Found(libvirt=9_000_000)

    async def begin(self, session: str, bond: Bond, wanted: Wanted, alive: Callable[[], Awaitable[bool]]) -> tuple[Played, Prepared]:
        self.did.append(("begin", session, bond.owner, wanted))
        self.alive = alive
        return self, PREPARED

    def session(self, session: str, claim: Claim) -> Played:
        if (session, claim.secret) != (SESSION, SECRET):
            raise DestinationFailed("the destination does not know this session")
        return self

    async def state_of(self, vm: str) -> str:
        return {"web1": "running"}.get(vm, "")

    async def finish(self, arrived: bool) -> Fate:
        self.did.append(("finish", arrived))
        self.over = True
        return Fate("running", "migrated", has_run=True)

    async def outcome(self, uuid: str, session: str | None, claim: Claim, end: bool, may: Callable[[str], object]) -> Fate:
        may("web1")
        self.did.append(("outcome", uuid, session, end))
        return Fate()

    async def abandon(self, why: str) -> Fate:
        self.did.append(("abandon", why))
        return Fate()


def pair(played: Played, *, may: bool = True) -> Pair:
    sessions = Sessions(cast("Any", Clock()), VMS, cast("Any", None))
    party = Party("here", frozenset({"here"}), lambda vm: may, secure=True)
    return Pair(LibvirtControl(sessions, party, cast("Arrivals", played)))


def test_a_whole_migration() -> None:
    made = pair(played := Played())
    assert made.ask(LibvirtLook, **LIBVIRT.offer(), wanted=WANTED)["found"] == Found(libvirt=9_000_000)
    assert made.ask(LibvirtPrepare, session=SESSION, secret=SECRET, **LIBVIRT.offer(), wanted=WANTED)["prepared"] == PREPARED
    assert made.ask(LibvirtFinish, session=SESSION, secret=SECRET, arrived=True)["fate"].has_run
    assert made.ask(LibvirtOutcome, session=None, secret=None, uuid=UUID, end=True)["fate"] == Fate()
    assert played.did == [("look", WANTED), ("begin", SESSION, "here", WANTED), ("finish", True), ("outcome", UUID, None, True)]


def test_where_a_domain_is_is_told_by_its_name() -> None:
    made = pair(Played())
    for vm, state in (("web1", "running"), ("web2", "unreachable")):
        assert made.ask(Query, session=SESSION, secret=None, vm=vm) == {"state": "unknown", "machine": state, "reason": ""}
    assert isinstance(pair(Played(), may=False).ask(Query, session=SESSION, secret=None, vm="web1"), NotAllowed)


def test_a_source_without_the_right() -> None:
    made = pair(played := Played(), may=False)
    for command, told in ((LibvirtLook, {}), (LibvirtPrepare, {"session": SESSION, "secret": SECRET})):
        refused = made.ask(command, **told, **LIBVIRT.offer(), wanted=WANTED)
        assert isinstance(refused, NotAllowed)
        assert "no --allow at the destination admits here to this VM" in f"{refused}"
    assert isinstance(made.ask(LibvirtOutcome, session=None, secret=None, uuid=UUID, end=True), NotAllowed)
    assert played.did == []


def test_a_session_has_a_secret_and_needs_it() -> None:
    made = pair(Played())
    assert isinstance(made.ask(LibvirtPrepare, session=SESSION, secret=None, **LIBVIRT.offer(), wanted=WANTED), ProtocolViolation)
    assert isinstance(made.ask(LibvirtFinish, session=SESSION, secret=b"x" * 32, arrived=False), DestinationFailed)


def test_one_session_at_a_time() -> None:
    made = pair(Played())
    told = {"session": SESSION, "secret": SECRET, **LIBVIRT.offer(), "wanted": WANTED}
    made.ask(LibvirtPrepare, **told)
    assert isinstance(made.ask(LibvirtPrepare, **told), NotMigratable)
    made.ask(LibvirtFinish, session=SESSION, secret=SECRET, arrived=False)
    assert made.ask(LibvirtPrepare, **told)["prepared"] == PREPARED


def test_a_channel_that_is_lost_for_good_ends_its_session() -> None:
    made = pair(played := Played())
    made.ask(LibvirtPrepare, session=SESSION, secret=SECRET, **LIBVIRT.offer(), wanted=WANTED)
    made.server.connectionLost(Failure(ConnectionError("cut")))
    assert played.did[-1] == ("abandon", "the control channel to the source was lost: cut")


def test_whether_its_source_lives_is_asked_over_the_channel() -> None:
    control, source = (made := pair(Played())).server, SourceControl(Clock(), lambda error: None)
    assert isinstance(control, LibvirtControl)
    pump = connect(control, FakeTransport(control, isServer=True), source, FakeTransport(source, isServer=False))
    answers: list[bool] = []
    Deferred.fromCoroutine(control._answers()).addCallback(answers.append)
    pump.flush()
    made.server.connectionLost(Failure(ConnectionError("cut")))
    Deferred.fromCoroutine(control._answers()).addCallback(answers.append)
    assert answers == [True, False]
