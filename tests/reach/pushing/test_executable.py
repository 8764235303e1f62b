"""Which executable is ours: one whose modules are the same as those that run."""

from __future__ import annotations

import sys
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import pytest

from nbdtun.errors import ReachError
from nbdtun.reach.pushing import executable as module
from nbdtun.reach.pushing.executable import Executable, find
from nbdtun.reach.pushing.pack import COMMON, pack

ROOT = Path(str(files("nbdtun"))).parent


def ours(python: str) -> bytes:
    return pack({COMMON: {f"{path.relative_to(ROOT)}": path.read_bytes() for path in ROOT.glob("nbdtun/**/*.py")}, python: {}}, preset=0)


def test_its_manifest() -> None:
    found = Executable.read(ours("3.14"))
    assert (found.pythons, found.sha256) == (("3.14",), sha256(found.content).hexdigest())
    assert found.name == f"nbdtun-{found.sha256[:16]}.pyz"
    assert repr(found).endswith(f"bytes for Python 3.14 on {found.machine}>")


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", bytes(1000)])
def test_what_is_none(content: bytes) -> None:
    with pytest.raises(ReachError, match="not an executable of nbdtun"):
        Executable.read(content)


def test_the_one_that_runs_is_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs.pyz").write_bytes(ours("3.98"))
    (tmp_path / "share/nbdtun").mkdir(parents=True)
    (tmp_path / "share/nbdtun/nbdtun.pyz").write_bytes(ours("3.99"))
    monkeypatch.setattr(sys, "prefix", f"{tmp_path}")
    monkeypatch.setattr(sys, "argv", [f"{tmp_path}/runs.pyz"])
    assert find().pythons == ("3.98",)


def test_another_version_is_not_used_and_one_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = pack({COMMON: {"nbdtun/cli/__init__.py": b"another"}, "3.98": {}})
    (tmp_path / "old.pyz").write_bytes(other)
    monkeypatch.setattr(sys, "argv", [f"{tmp_path}/old.pyz"])
    monkeypatch.setattr(module, "NAME", "none.pyz")
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}")
    made = {COMMON: {f"{path.relative_to(ROOT)}": path.read_bytes() for path in ROOT.glob("nbdtun/**/*.py")}, "3.97": {}}
    monkeypatch.setattr(module, "from_here", lambda: made)
    assert find().pythons == ("3.97",)
    made.clear()
    assert find().pythons == ("3.97",)  # it was kept
    monkeypatch.setenv("XDG_CACHE_HOME", f"{tmp_path}/old.pyz")
    with pytest.raises(KeyError):
        find()
