from __future__ import annotations

import pytest

from nbdtun.errors import ConfigError, GuestLost, LinkLost, NbdtunError, tree
from nbdtun.migration.control.commands import MIGRATION, Finish, Prepare
from nbdtun.migration.control.rows import disks_of, rows_of_disks
from nbdtun.migration.vm.disks import MAX_DISKS, Disk
from nbdtun.versions import Agreed
from tests.migration.stage.machines import HARDWARE
from tests.migration.stage.talk import SESSION, Echo, Pair

ANSWER = {**Agreed(1).fields(), "target": "t", "findings": []}


def test_disks_cross() -> None:
    disks = (
        Disk("vda", "", "vda-dev", 1 << 40, "raw", "pci:05.0", "S1"),
        Disk("#block1", "ide0-hd0", "/machine/unattached/device[16]", 512),
    )
    pair = Pair(Echo())
    arguments = {
        **MIGRATION.offer(),
        "session": SESSION,
        "secret": None,
        "vm": "wéb1",
        "hardware": HARDWARE,
        "bitmaps": [],
        "allowed": [{"name": "cpu"}],
    }
    assert pair.ask(Prepare, disks=rows_of_disks(disks), **arguments) == ANSWER
    (got,) = pair.server.got  # type: ignore[attr-defined]
    assert disks_of(got.pop("disks")) == disks
    assert got == arguments


@pytest.mark.parametrize("error", [error for error in tree(NbdtunError) if error not in (ConfigError, GuestLost)])
def test_finish_keeps_every_error_apart(error: type[NbdtunError]) -> None:
    """Above all an unknown outcome: taken for any other error, it would let the guest run at both ends."""
    assert type(Pair(Echo(error("why"))).ask(Finish, session=SESSION, run=True, settle=2000)) is error


def test_as_many_disks_as_are_allowed_fit_into_a_message() -> None:
    disks = (Disk("n" * 150, "d" * 150, "/" + "q" * 200, 1 << 62, "qcow2", "p" * 200, "s" * 100),) * MAX_DISKS
    arguments = {
        **MIGRATION.offer(),
        "session": SESSION,
        "vm": "w" * 255,
        "hardware": HARDWARE,
        "bitmaps": [],
        "allowed": [{"name": "cpu"}],
    }
    assert Pair(Echo()).ask(Prepare, disks=rows_of_disks(disks), **arguments) == ANSWER
    refused = Pair(Echo()).ask(Prepare, disks=rows_of_disks(disks + disks[:1])[:65], **(arguments | {"vm": "w"}))
    assert isinstance(refused, NbdtunError | LinkLost)
