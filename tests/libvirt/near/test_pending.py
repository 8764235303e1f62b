"""The record of a handover whose outcome is not known yet."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from attrs import evolve

from nbdtun.errors import OutcomeUnknown
from nbdtun.libvirt.near.pending import MOVED, Pending, pending, pending_of
from nbdtun.migration.rollback.presence import identity

UUID = "11111111-2222-3333-4444-555555555555"
LEFT = Pending(UUID, "web1", "0123456789abcdef" * 2, "5ec7e7", runs=False)


def test_the_next_process_reads_it(tmp_path: Path) -> None:
    assert pending(tmp_path, UUID).read() is None
    assert pending(tmp_path, UUID).write(LEFT)
    assert pending(tmp_path, UUID).read() == LEFT
    pending(tmp_path, UUID).erase()
    assert pending(tmp_path, UUID).read() is None


def test_by_its_name_where_the_domain_has_gone(tmp_path: Path) -> None:
    pending(tmp_path, UUID).write(evolve(LEFT, ended=MOVED))
    (tmp_path / "broken.handover").write_text("{")
    kept = pending_of(tmp_path, "web1")
    assert kept is not None
    assert kept.read() == evolve(LEFT, ended=MOVED)
    assert pending_of(tmp_path / "nowhere", "web1") is None
    with pytest.raises(OutcomeUnknown, match=r"broken\.handover, .* cannot be read"):
        pending_of(tmp_path, "web2")  # it may be its own
    (tmp_path / "broken.handover").unlink()
    assert pending_of(tmp_path, "web2") is None


def test_another_process_that_lives_holds_it() -> None:
    assert not LEFT.is_held
    assert LEFT.pid == 0
    assert not evolve(LEFT, holder=identity(os.getpid())).is_held  # ourselves
    with subprocess.Popen(["sleep", "60"]) as other:
        held = evolve(LEFT, holder=identity(other.pid))
        assert held.is_held
        assert held.pid == other.pid
        other.kill()
    assert not held.is_held
