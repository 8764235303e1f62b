"""What makes QEMU refuse to migrate: its reasons, each with what can be done."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from nbdtun.errors import NotMigratable
from nbdtun.migration.check.blockers import blockers, of_this_alone, require_unblocked
from nbdtun.migration.vm.hardware.model import Device, Hardware
from nbdtun.migration.vm.machine import Machine
from tests.migration.stage.paper import Sheet

MOUNTED = "Migration is disabled when VirtFS export path '/srv' is mounted in the guest using mount_tag 't'"
DUMPING = "Live migration disabled: dump-guest-memory in progress"
FILES = "non-migratable device: 0000:00:15.0/vhost-user-fs"
MACHINE = Hardware(Machine("q35", 1), devices=(Device("board/pci:15.0", "vhost-user-fs-pci", "fs0"),))


def do(work: Any) -> Any:
    got: list[Any] = []
    Deferred.fromCoroutine(work).addCallbacks(got.append, lambda failure: got.append(failure.value))
    return got[0]


def sheet(*reasons: str, **told: str) -> Sheet:
    return Sheet(Clock(), {"query-migrate": {"blocked-reasons": list(reasons), **told}})


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        (MOUNTED, f"{MOUNTED}; unmount it in the guest"),
        (DUMPING, f"{DUMPING}; wait for it"),
        (FILES, "QEMU cannot send the state of fs0 (vhost-user-fs-pci at pci:15.0); unplug that device"),
        ("non-migratable device: 0000:00:16.0/x", "non-migratable device: 0000:00:16.0/x; unplug that device"),
        ("non-migratable device: 0000:00:02.0:15.0/x", "non-migratable device: 0000:00:02.0:15.0/x; unplug that device"),
        ("vhost-user backend lacks LOG_SHMFD", "vhost-user backend lacks LOG_SHMFD; unplug that device"),
        ("something", "something; end what QEMU names"),
    ],
)
def test_a_reason_and_its_remedy(reason: str, line: str) -> None:
    (error,) = do(blockers(sheet(reason), MACHINE))
    assert str(error) == f"web1 cannot be migrated: {line}"


def test_a_dump_is_reported_elsewhere() -> None:
    found = do(blockers(sheet(MOUNTED, DUMPING)))
    assert of_this_alone(found) == found[:1]


def test_all_of_them_end_a_migration() -> None:
    assert do(require_unblocked(sheet())) is None
    one, both = do(require_unblocked(sheet(DUMPING))), do(require_unblocked(sheet(MOUNTED, DUMPING)))
    assert str(one) == f"web1 cannot be migrated: {DUMPING}; wait for it"
    assert str(both).count("web1 cannot be migrated: ") == 2


@pytest.mark.parametrize("status", ["setup", "active", "pre-switchover"])
def test_another_migration_is_under_way(status: str) -> None:
    error = do(require_unblocked(sheet(status=status)))
    assert isinstance(error, NotMigratable)
    assert str(error) == f"web1: another tool is already migrating it ({status}); wait for it to end, or stop it with migrate_cancel"
