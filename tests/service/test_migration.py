"""One migration with its tunnel: how it ends before it has begun, and what is left; a whole one needs two real QEMUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.task import deferLater

from nbdtun.errors import ConfigError, MonitorError, NotMigratable
from nbdtun.service.control.names import Name
from nbdtun.service.control.socket import ControlSocket
from nbdtun.service.migration import MigrationService, migrate, resolve
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
