from __future__ import annotations

import pytest

from nbdtun.errors import ConfigError, LinkLost, NbdtunError, tree
from nbdtun.migration.control.commands import Finish, Prepare, disks_of, rows_of
from nbdtun.migration.vm.disks import MAX_DISKS, Disk
from tests.migration.stage.talk import SESSION, Echo, Pair


def test_disks_cross() -> None:
    disks = (Disk("vda", "", "vda-dev", 1 << 40), Disk("#block1", "ide0-hd0", "/machine/unattached/device[16]", 512))
    pair = Pair(Echo())
    arguments = {"version": 1, "session": SESSION, "vm": "wéb1", "machine": "m", "memory": 5}
    assert pair.ask(Prepare, disks=rows_of(disks), **arguments) == {"target": "t"}
    (got,) = pair.server.got  # type: ignore[attr-defined]
    assert disks_of(got.pop("disks")) == disks
    assert got == arguments


@pytest.mark.parametrize("error", [error for error in tree(NbdtunError) if error is not ConfigError])
def test_finish_keeps_every_error_apart(error: type[NbdtunError]) -> None:
    """Above all an unknown outcome: taken for any other error, it would let the guest run at both ends."""
    assert type(Pair(Echo(error("why"))).ask(Finish, session=SESSION, run=True)) is error


def test_as_many_disks_as_are_allowed_fit_into_a_message() -> None:
    disks = (Disk("n" * 255, "d" * 255, "/" + "q" * 254, 1 << 62),) * MAX_DISKS
    arguments = {"version": 1, "session": SESSION, "vm": "w" * 255, "machine": "m", "memory": 5}
    assert Pair(Echo()).ask(Prepare, disks=rows_of(disks), **arguments) == {"target": "t"}
    refused = Pair(Echo()).ask(Prepare, disks=rows_of(disks + disks[:1])[:65], **(arguments | {"vm": "w"}))
    assert isinstance(refused, NbdtunError | LinkLost)
