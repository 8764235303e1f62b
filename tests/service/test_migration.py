"""One migration with its tunnel: how it ends before it has begun, and what is left; a whole one needs two real QEMUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.task import deferLater

from nbdtun.errors import ConfigError, LinkLost, MigrationError, MonitorError, NotMigratable, OutcomeUnknown, ReachError
from nbdtun.service import migration as module
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import ControlSocket
from nbdtun.service.migration import MigrationService, migrate, resolve
from nbdtun.service.tunnel.reached import Reached
from tests.migration.stage.qmp_server import Serving
from tests.service.control.stage import Controllable
from tests.service.stage import migration_settings


def left(base: Path) -> list[str]:
    return sorted(path.name for path in base.rglob("*") if path.suffix == ".sock" or path.name.startswith("nbdtun-"))


@pytest.mark.parametrize("work", [migrate, resolve])
@pytest_twisted.ensureDeferred
async def test_a_vm_that_is_not_there(work: Any, base: Path) -> None:
    with pytest.raises(MonitorError, match=r"web1\.qmp"):
        await work(reactor, migration_settings(base))
    assert left(base) == []


@pytest_twisted.ensureDeferred
async def test_one_vm_has_one_migration_at_a_time(base: Path) -> None:
    wanted = migration_settings(base)
    control = ControlSocket(reactor, str(base), Name.of_vm("web1", wanted.qmp), Controllable())
    await control.open()
    with pytest.raises(NotMigratable, match=r"web1 is being migrated by another process \(pid"):
        await migrate(reactor, wanted)
    await control.close()


@pytest_twisted.ensureDeferred
async def test_certificates_are_read_before_anything_is_begun(base: Path) -> None:
    wanted = migration_settings(base, tls_dir=f"{base}/none", tls_name="dest")
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        MigrationService(reactor, wanted)
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        await migrate(reactor, wanted)


@pytest_twisted.ensureDeferred
async def test_a_service_tells_how_it_has_ended(base: Path, said: list[str]) -> None:
    ends: list[Any] = []
    service = MigrationService(reactor, migration_settings(base), ends.append)
    service.startService()
    while not ends:
        await deferLater(reactor, 0.01)
    assert isinstance(ends[0], MonitorError)
    assert said[-1] == f"web1: {ends[0].line}"
    await service.stopService()
    assert len(ends) == 1


@pytest_twisted.ensureDeferred
async def test_a_service_that_is_stopped_rolls_back_and_tells_nobody(base: Path, said: list[str]) -> None:
    wanted = migration_settings(base)
    silent = Serving(lambda server, message: None, greet=False)
    port = await UNIXServerEndpoint(reactor, wanted.qmp).listen(silent)
    ends: list[Any] = []
    service = MigrationService(reactor, wanted, ends.append)
    service.startService()
    while not silent.connections:
        await deferLater(reactor, 0.01)
    await service.stopService()
    assert (ends, said[-1]) == ([], "web1: rolled back; it is at the source as before")
    await port.stopListening()
    assert left(base) == []


@pytest_twisted.ensureDeferred
async def test_a_service_that_is_drained_rolls_back_and_tells_so(base: Path) -> None:
    wanted = migration_settings(base)
    silent = Serving(lambda server, message: None, greet=False)
    port = await UNIXServerEndpoint(reactor, wanted.qmp).listen(silent)
    ends: list[Any] = []
    service = MigrationService(reactor, wanted, ends.append)
    await service.drain()
    service.startService()
    while not silent.connections:
        await deferLater(reactor, 0.01)
    await service.drain()
    assert [type(end) for end in ends] == [CancelledError]
    await service.stopService()
    assert len(ends) == 1
    await port.stopListening()
    assert left(base) == []


@pytest_twisted.ensureDeferred
async def test_a_cancelled_migration_ends_in_its_own_time(base: Path) -> None:
    wanted = migration_settings(base)
    silent = Serving(lambda server, message: None, greet=False)
    port = await UNIXServerEndpoint(reactor, wanted.qmp).listen(silent)
    migrating = migrate(reactor, wanted)
    while not silent.connections:
        await deferLater(reactor, 0.01)
    migrating.cancel()
    with pytest.raises(CancelledError):
        await migrating
    await port.stopListening()
    assert left(base) == []


class FakeReached:
    """A far end where no QEMU waits."""

    def __init__(self) -> None:
        self.did: list[Any] = []
        self.waits = False
        self.far = self

    async def open(self) -> Any:
        return object()

    async def remove(self) -> None:
        self.did.append("removed")

    async def acknowledge(self, *, settled: bool = True) -> None:
        self.did.append("settled" if settled else "left")

    async def close(self) -> None:
        self.did.append("closed")


class Fails:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error

    async def __call__(self, *_: Any) -> Any:
        if self.error is not None:
            raise self.error
        return "done"


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> FakeReached:
    one = FakeReached()
    monkeypatch.setattr(Reached, "by", lambda *_: one)
    monkeypatch.setattr(module, "Source", lambda dialer: None)
    monkeypatch.setattr(module, "make_with", Fails(None))
    return one


@pytest.mark.parametrize(
    ("work", "error", "then"),
    [
        (migrate, None, ["settled", "closed"]),
        (migrate, NotMigratable("an earlier one is unknown"), ["removed", "left", "closed"]),
        (migrate, CancelledError(), ["removed", "left", "closed"]),
        (migrate, OutcomeUnknown("lost"), ["closed"]),
        (resolve, None, ["settled", "closed"]),
        (resolve, MigrationError("it did not arrive"), ["settled", "closed"]),
        (resolve, NotMigratable("nothing to resolve"), ["left", "closed"]),
        (resolve, MonitorError("no such socket"), ["left", "closed"]),
        (resolve, CancelledError(), ["left", "closed"]),
        (resolve, OutcomeUnknown("still"), ["closed"]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_only_who_knows_an_outcome_lets_the_far_end_forget_it(
    work: Any, error: BaseException | None, then: list[str], base: Path, reached: FakeReached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_migrate", Fails(error))
    wanted = evolve(migration_settings(base), connect="ssh://dest")
    if error is None:
        await work(reactor, wanted)
    else:
        with pytest.raises(type(error)):
            await work(reactor, wanted)
    assert reached.did == then


@pytest.mark.parametrize(
    ("error", "removes"), [(NotMigratable("made here already"), False), (LinkLost("ssh"), True), (ReachError("ssh"), True)]
)
@pytest_twisted.ensureDeferred
async def test_what_another_attempt_has_made_is_not_removed(
    error: Exception, removes: bool, base: Path, reached: FakeReached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "make_with", Fails(error))
    with pytest.raises(type(error)):
        await migrate(reactor, evolve(migration_settings(base), connect="ssh://dest"))
    assert ("removed" in reached.did) is removes
