"""The catalogue of findings: each kind is declared whole, and makes findings that say so."""

from __future__ import annotations

import pytest

from nbdtun.errors import DiskMismatch, MonitorError
from nbdtun.migration.catalogue import DEVICE, DISKS, FORECAST, SNAPSHOTS, Kind, kinds
from nbdtun.migration.finding import Check, Finding, Level


def test_a_finding_has_what_its_kind_declares() -> None:
    made = DEVICE("n0 is missing at the destination", name="n0")
    assert made == Finding(Level.FAILURE, "devices", "n0 is missing at the destination", DEVICE.remedy, "not-migratable", "n0")
    assert SNAPSHOTS("vda: a", "delete a").remedy == "delete a"
    assert FORECAST("never", "").code == ""


def test_an_error_becomes_a_finding_with_its_own_code_and_remedy() -> None:
    assert DISKS.of(DiskMismatch("vda is too small", "enlarge it")) == Finding(
        Level.FAILURE, "disks", "vda is too small", "enlarge it", "disk-mismatch"
    )
    assert DISKS.of(MonitorError("QEMU is silent")).code == "monitor"


def test_every_check_has_a_sentence_and_a_kind() -> None:
    assert {kind.check for kind in kinds()} == set(Check)
    assert [name for name in Check if not name.about.endswith(".")] == []


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.found[:40])
def test_each_kind_is_whole(kind: Kind) -> None:
    assert kind.found.endswith(".")
    assert kind.level is not Level.OK
    if kind.level is Level.FAILURE:
        assert kind.remedy
        assert kind.code
    else:
        assert not kind.override
