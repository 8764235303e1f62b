"""One arrival's corners; integration/libvirt_far has its whole life, with a real libvirtd."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import cast

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from nbdtun.errors import DestinationFailed, DiskMismatch, LibvirtError, NotMigratable
from nbdtun.kept import Kept
from nbdtun.libvirt.far.arrival import Arrival, Local, make_socket_directory, refuse
from nbdtun.libvirt.far.record import Begun, record
from nbdtun.libvirt.values import Found
from nbdtun.migration.bond import Bond
from nbdtun.migration.finding import Finding, Level
from nbdtun.process import Reactor
from tests.libvirt.stage import SESSION, UUID, WANTED


class Doors:
    def open(self) -> tuple[str, str, str]:
        return "libvirt.1", "memory.1", "disks.1"

    def close(self, why: str) -> None:
        pass


async def alive() -> bool:
    return True


def arrival_of(kept: Kept[Begun]) -> Arrival:
    local = Local(cast("Reactor", Clock()), "qemu:///system", "/run/d")
    return Arrival(local, kept, SESSION, Bond("here", "proof"), WANTED, lambda arrival: Doors(), alive)


def test_where_its_sockets_are(tmp_path: Path) -> None:
    arrival = arrival_of(record(tmp_path, UUID))
    assert (arrival.memory, arrival.disks) == (f"/run/d/{SESSION}/memory.sock", f"/run/d/{SESSION}/disks.sock")
    assert repr(arrival) == "<Arrival of web1, session 01234567>"


def test_a_handover_is_written_down_before_it_is_made(tmp_path: Path) -> None:
    kept = record(tmp_path, UUID)
    arrival_of(kept).handing_over()
    noted = kept.read()
    assert noted is not None
    assert (noted.handed_over, noted.arrived, noted.session, noted.bond) == (True, False, SESSION, Bond("here", "proof"))


@pytest.mark.parametrize("runs", [True, False])
def test_what_libvirt_answers_is_written_down(tmp_path: Path, runs: bool) -> None:
    kept = record(tmp_path, UUID)
    arrival = arrival_of(kept)
    arrival.handing_over()
    arrival.answered(runs=runs)
    noted = kept.read()
    assert noted is not None
    assert (noted.handed_over, noted.answered) == (runs, runs)


@pytest_twisted.ensureDeferred
async def test_nothing_is_handed_over_once_it_is_being_ended(tmp_path: Path) -> None:
    """A domain that waits is ended then; one whose guest has just begun to run must not be."""
    from twisted.internet import reactor

    local = Local(cast("Reactor", reactor), "qemu+unix:///system?socket=/nonexistent", "/run/d")
    arrival = Arrival(local, record(tmp_path, UUID), SESSION, Bond(), WANTED, lambda arrival: Doors(), alive)
    with pytest.raises(LibvirtError):  # so that all stays as it is, and can be ended again
        await arrival.abandon("its source is gone")
    assert not arrival.over
    with pytest.raises(DestinationFailed, match="its session has ended at the destination"):
        arrival.handing_over()
    assert record(tmp_path, UUID).read() is None


class Full(Kept[Begun]):
    """A record on a file system that is full by now, and perhaps read-only."""

    def __init__(self, path: Path, *, erasable: bool) -> None:
        super().__init__(path, Begun)
        self._erasable = erasable

    def write(self, value: Begun) -> bool:
        return False

    def erase(self) -> None:
        if self._erasable:
            super().erase()


def test_a_handover_that_cannot_be_written_down_leaves_no_wrong_record(tmp_path: Path) -> None:
    path = tmp_path / f"{UUID}.arrival"
    assert record(tmp_path, UUID).write(Begun(UUID, "web1", SESSION))
    with pytest.raises(OSError, match="can be neither written nor removed"):
        arrival_of(Full(path, erasable=False)).handing_over()
    arrival_of(Full(path, erasable=True)).handing_over()
    assert not path.exists()


def test_the_first_failure_names_the_kind_and_all_are_said() -> None:
    findings = (
        Finding(Level.WARNING, "place", "harmless"),
        Finding(Level.FAILURE, "disks", "too small", "enlarge it", "disk-mismatch"),
        Finding(Level.FAILURE, "place", "no bridge", "", "not-migratable"),
    )
    with pytest.raises(DiskMismatch, match=r"^too small; enlarge it; no bridge$"):
        refuse(Found(findings))
    refuse(Found(findings[:1]))


def test_a_directory_for_qemus_sockets(tmp_path: Path) -> None:
    path = tmp_path / "run/nbdtun/libvirt" / SESSION
    make_socket_directory(f"{path}", None)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o022 == 0
    with pytest.raises(NotMigratable, match="cannot be made: File exists"):
        make_socket_directory(f"{path}", None)
    if os.geteuid() == 0:
        make_socket_directory(f"{path}2", (64055, 106))
        assert (os.stat(f"{path}2").st_uid, os.stat(f"{path}2").st_gid) == (64055, 106)
