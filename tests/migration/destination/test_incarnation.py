"""The mark of a QEMU: the same as long as it lives, another for each other one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from nbdtun.migration.destination import incarnation
from nbdtun.migration.destination.incarnation import mark
from nbdtun.ownership.reach import Credentials
from tests.migration.stage.paper import Paper


def of(pid: int, path: str = "/nowhere") -> str:
    monitor = Paper(Clock(), "web1")
    monitor.path, monitor.credentials = path, Credentials(pid, 0, 0)
    return mark(monitor)


def test_it_is_that_of_a_process() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        assert len({of(os.getpid()), of(other.pid), of(os.getpid())}) == 2
    assert len(of(os.getpid())) == 32


def test_it_ends_with_the_hosts_boot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = of(os.getpid())
    (tmp_path / "boot_id").write_text("another")
    monkeypatch.setattr(incarnation, "_BOOT", tmp_path / "boot_id")
    assert of(os.getpid()) != before
    monkeypatch.setattr(incarnation, "_BOOT", tmp_path / "none")
    assert of(os.getpid())


def test_where_no_process_is_seen_it_is_that_of_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "qmp"
    path.touch()
    first = of(0, str(path))
    path.chmod(0o600)
    assert of(0, str(path)) == first
    path.rename(tmp_path / "old")
    path.touch()
    assert of(0, str(path)) not in ("", first)


def test_there_may_be_none() -> None:
    assert of(0) == ""
    unconnected = Paper(Clock(), "web1")
    unconnected.path = "/nowhere"
    assert mark(unconnected) == ""
