"""What prevents a domain from leaving."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from nbdtun.libvirt.domain import Domain
from nbdtun.libvirt.near.obstacles import obstacles
from nbdtun.libvirt.near.pending import STAYED, Pending, pending
from nbdtun.libvirt.near.survey import Survey
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.finding import Level

FOUND = Survey(Domain("web1", "11111111-2222-3333-4444-555555555555"), "<domain/>", ())


def test_snapshots_and_checkpoints_are_in_the_way(tmp_path: Path) -> None:
    checklist = Checklist()
    obstacles(checklist, Survey(FOUND.domain, "<domain/>", (), snapshots=2, checkpoints=1), tmp_path)
    assert [finding.what for finding in checklist.findings] == ["web1 has 2 snapshots and 1 checkpoints, and libvirt moves no such domain"]
    obstacles(checklist, FOUND, tmp_path)
    assert len(checklist.findings) == 1


def test_a_transient_domain_cannot_be_kept(tmp_path: Path) -> None:
    for persistent, says in (("", ["web1 is transient, so that nothing of it stays at the source"]), ("<domain/>", [])):
        checklist = Checklist()
        obstacles(checklist, evolve(FOUND, persistent=persistent), tmp_path, keep=True)
        assert [finding.what for finding in checklist.findings] == says


def test_a_disk_that_stays_without_being_at_another_host(tmp_path: Path) -> None:
    checklist = Checklist()
    obstacles(checklist, evolve(FOUND, alone=("vdb",)), tmp_path)
    (finding,) = checklist.findings
    assert (finding.level, finding.what) == (Level.WARNING, "disk vdb is not copied, and its file is on a file system of this host")


def test_an_earlier_migration_whose_outcome_is_unknown_is_in_the_way(tmp_path: Path) -> None:
    kept = pending(tmp_path, FOUND.domain.uuid)
    kept.write(Pending(FOUND.domain.uuid, "web1", "0123456789abcdef" * 2))
    assert said(FOUND, tmp_path) == ["web1 was handed over in an earlier migration, and it is not known yet whether it runs there"]
    kept.write(Pending(FOUND.domain.uuid, "web1", "0123456789abcdef" * 2, ended=STAYED))
    assert said(FOUND, tmp_path) == []
    stands = Survey(FOUND.domain, "<domain/>", (), stands=True)
    assert said(stands, tmp_path) == ["web1 stands still for an earlier migration, which libvirt has not brought to its end"]


def said(found: Survey, state: Path) -> list[str]:
    checklist = Checklist()
    obstacles(checklist, found, state)
    assert all(finding.remedy == "use --resolve" for finding in checklist.findings)
    return [finding.what for finding in checklist.findings]


def test_a_handover_that_cannot_be_read_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / f"{FOUND.domain.uuid}.handover").write_text("{}")
    checklist = Checklist()
    obstacles(checklist, FOUND, tmp_path)
    (finding,) = checklist.findings
    assert finding.level is Level.FAILURE
    assert finding.remedy.startswith("the release of nbdtun that wrote it can end it")
    assert finding.what.startswith(f"web1: {tmp_path}/{FOUND.domain.uuid}.handover, the record of an earlier migration, cannot be read")
