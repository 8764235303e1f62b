"""Disks and findings as rows: what crosses, what is cut, and what is left out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp

from nbdtun.errors import NotMigratable
from nbdtun.migration.capacity import Space
from nbdtun.migration.control.commands import WANTED
from nbdtun.migration.control.rows import (
    BITMAPS,
    FINDINGS,
    MAX_FINDINGS,
    MAX_NAME,
    MAX_REMEDY,
    MAX_WHAT,
    SPACES,
    bitmaps_of,
    disks_of,
    findings_of,
    rows_of_bitmaps,
    rows_of_disks,
    rows_of_findings,
    rows_of_spaces,
    spaces_of,
)
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.vm.bitmaps import MAX_BITMAPS, Passenger
from nbdtun.migration.vm.bitmaps import MAX_NAME as MAX_BITMAP_NAME
from nbdtun.migration.vm.disks import MAX_DISKS, Disk

DISKS = dict(WANTED)[b"disks"]
#: The length of a value in AMP has two bytes.
MAX_VALUE = 65535


def across(argument: Any, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows as the other end has them."""
    packed = argument.toStringProto(rows, None)
    assert len(packed) <= MAX_VALUE
    got: list[dict[str, Any]] = argument.fromStringProto(packed, None)
    return got


def crossed(*findings: Finding) -> tuple[Finding, ...]:
    return findings_of(across(FINDINGS, rows_of_findings(findings)))


@given(st.lists(st.builds(Finding, st.sampled_from(Level), *[st.text("abc é;:=_-/", max_size=MAX_NAME)] * 5), max_size=MAX_FINDINGS))
def test_findings_cross(findings: list[Finding]) -> None:
    assert findings_of(rows_of_findings(findings)) == tuple(findings)
    assert crossed(*findings[:20]) == tuple(findings[:20])


def test_an_error_is_of_the_same_kind_at_the_other_end() -> None:
    found = Finding.of("cpu", NotMigratable("the destination's CPU lacks aes", "use another"))
    assert crossed(found) == (found,)
    assert found.code == "not-migratable"


def test_a_level_of_a_later_version_is_a_warning() -> None:
    """It is told, and does not keep a migration from being begun: the later version is the one that knows, and refuses by itself."""
    (row,) = rows_of_findings([Finding(Level.OK, "moon", "it is full")])
    assert findings_of([row | {"level": "omen"}]) == (Finding(Level.WARNING, "moon", "it is full"),)


def test_a_text_is_cut_and_made_printable() -> None:
    (got,) = crossed(Finding(Level.FAILURE, "cpu", "a\nb" + "x" * 1000, "y" * 1000, "code", "z" * 1000))
    assert (got.what[:4], len(got.what), len(got.remedy), len(got.name)) == ("a bx", MAX_WHAT, MAX_REMEDY, MAX_NAME)


def test_as_many_as_are_allowed_fit_into_one_value() -> None:
    findings = [Finding(Level.FAILURE, "capabilities", "w" * 999, "r" * 999, "not-migratable", "n" * 999)] * MAX_FINDINGS
    assert len(crossed(*findings)) == MAX_FINDINGS == MAX_DISKS + 32


@pytest.mark.parametrize(("number", "gravest_first"), [(MAX_FINDINGS, False), (MAX_FINDINGS + 1, True)])
def test_the_order_is_that_of_the_checks_unless_there_are_too_many(number: int, gravest_first: bool) -> None:
    levels = [list(Level)[each % 3] for each in range(number)]
    findings = [Finding(level, "check", str(each)) for each, level in enumerate(levels)]
    got = crossed(*findings)
    grave = [one for level in (Level.FAILURE, Level.WARNING, Level.OK) for one in findings if one.level is level]
    assert got == tuple((grave if gravest_first else findings)[:MAX_FINDINGS])


def test_no_failure_is_left_out_for_what_is_well() -> None:
    """The failure comes last, as those of disks do."""
    fine = [Finding(Level.OK, "disks", "fine"), Finding(Level.WARNING, "devices", "more")]
    got = crossed(*fine * MAX_FINDINGS, Finding(Level.FAILURE, "disks", "too small"))
    assert len(got) == MAX_FINDINGS
    assert got[0].what == "too small"
    assert {one.level for one in got[1:]} == {Level.WARNING}


def test_more_rows_than_are_allowed_are_no_list() -> None:
    (row,) = rows_of_findings([Finding(Level.OK, "a", "b")])
    with pytest.raises(amp.RemoteAmpError, match=f"more than {MAX_FINDINGS} rows"):
        across(FINDINGS, [row] * (MAX_FINDINGS + 1))


def test_an_image_crosses_and_what_it_takes_on_the_host() -> None:
    """Both are no part of what a disk is, so ``==`` does not see them; by its image a disk that both ends share is found."""
    disk = Disk(
        "vda",
        "",
        "vda-dev",
        1 << 40,
        "qcow2",
        "pci:05.0",
        "S1",
        allocated=7 << 30,
        image="8b1a9953c4611296a827abf8c47804d7",
        cache="writethrough",
        file="/srv/web1.qcow2",
    )
    (got,) = disks_of(across(DISKS, rows_of_disks([disk])))
    assert got == disk
    assert (got.image, got.cache, got.allocated, got.file) == ("8b1a9953c4611296a827abf8c47804d7", "writethrough", 7 << 30, "")


def test_disk_space_crosses() -> None:
    spaces = (Space("65025", "/srv", 7 << 30, 1 << 40), Space("pool vg0", "the storage pool vg0", 0, 0))
    assert spaces_of(across(SPACES, rows_of_spaces(spaces))) == spaces
    assert spaces_of(None) == ()


def test_generated_names_cross() -> None:
    """As a QEMU has them that was started with -drive; and a field of a later version does no harm."""
    disks = (Disk("#block187", "ide0-hd0", "/machine/unattached/device[16]", 512), Disk("", "", "", 0))
    rows = across(DISKS, rows_of_disks(disks))
    assert disks_of(rows) == disks
    assert disks_of([row | {"zoned": "yes"} for row in rows]) == disks


def test_bitmaps_cross() -> None:
    bitmaps = (Passenger(0, "backup 0", True), Passenger(MAX_DISKS - 1, "é", False))
    assert bitmaps_of(across(BITMAPS, rows_of_bitmaps(bitmaps))) == bitmaps
    with pytest.raises(amp.RemoteAmpError, match=f"not a number from 0 to {MAX_DISKS - 1}"):
        across(BITMAPS, [{"disk": MAX_DISKS, "name": "b", "persistent": True}])


def test_as_many_bitmaps_as_are_allowed_fit_into_one_value() -> None:
    every = [Passenger(MAX_DISKS - 1, f"{number:b>{MAX_BITMAP_NAME}}", True) for number in range(MAX_BITMAPS)]
    assert len(across(BITMAPS, rows_of_bitmaps(every))) == MAX_BITMAPS
