"""A process of its own; here it is no QEMU."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nbdtun.errors import NotMigratable
from nbdtun.spawn.far.host import own_name
from nbdtun.spawn.far.start import LOG, start, unit_pid
from nbdtun.spawn.values import Plan
from tests.spawn.stage import PLAN, evolved


def plan(tmp_path: Path, *words: str) -> Plan:
    return evolved(PLAN, qmp=str(tmp_path / "q"), arguments=words, user=own_name())


def test_it_is_apart_and_is_ended(tmp_path: Path) -> None:
    started = start(plan(tmp_path, "60"), "/bin/sleep", "x")
    try:
        assert not started.has_ended()
        assert os.getsid(started.pid) == started.pid
    finally:
        started.end()
    assert started.has_ended()


def test_its_last_words(tmp_path: Path) -> None:
    started = start(plan(tmp_path, "-c", "echo one; echo two >&2; exit 1"), "/bin/sh", "x")
    while not started.has_ended():
        time.sleep(0.01)
    assert started.last_words() == "two"
    assert (tmp_path / f"q{LOG}").read_text() == "one\ntwo\n"
    started.end()


def test_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd-run and systemctl are scripts here, which write down their words."""
    for name, status in (("systemd-run", 0), ("systemctl", 3)):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/said\nexit {status}\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    started = start(evolved(plan(tmp_path, "-S"), unit=True, user="root"), "/bin/qemu", "nbdtun-web1")
    while not started.has_ended():
        time.sleep(0.01)
    assert (started.pid, started.unit) == (0, "nbdtun-web1")
    started.end()
    first, *others = (tmp_path / "said").read_text().splitlines()
    assert "--quiet --collect --unit=nbdtun-web1 --service-type=exec" in first
    assert first.endswith("-- /bin/qemu -S")
    assert others[-1].endswith("stop nbdtun-web1")
    assert f"--property=StandardError=append:{tmp_path}/q.log" in first


def test_the_process_of_a_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "systemctl"
    script.write_text('#!/bin/sh\ncase "$*" in *"show --property=MainPID --value nbdtun-web1") echo 17;; *) echo 0;; esac\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert (unit_pid("nbdtun-web1"), unit_pid("nbdtun-web2")) == (17, 0)


def test_a_unit_that_systemd_has_refused_is_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name is taken: by the guest of another VM of that name."""
    for name in ("systemd-run", "systemctl"):
        script = tmp_path / name
        script.write_text(f'#!/bin/sh\necho {name} "$@" >>{tmp_path}/said\necho "Unit nbdtun-web1.service already exists." >&2\nexit 1\n')
        script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    started = start(evolved(plan(tmp_path, "-S"), unit=True, user="root"), "/bin/qemu", "nbdtun-web1")
    while not started.has_ended():
        time.sleep(0.01)
    assert started.last_words() == "Unit nbdtun-web1.service already exists."
    started.end()
    assert "systemctl" not in (tmp_path / "said").read_text()


@pytest.mark.skipif(os.geteuid() != 0, reason="another user takes root")
def test_a_log_in_a_directory_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That user may put a link in its place at any time: what we open is no link, and systemd is not told to open it."""
    precious, there = tmp_path / "precious", tmp_path / "there"
    precious.write_text("precious\n")
    (tmp_path / "systemd-run").write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/said\n')
    (tmp_path / "systemd-run").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    there.mkdir()
    os.chown(there, 1, 1)
    started = start(evolved(plan(there), unit=True), "/bin/qemu", "x")
    while not (tmp_path / "said").exists() or not started.has_ended():
        time.sleep(0.01)
    assert "append:" not in (tmp_path / "said").read_text()
    (there / "q.log").unlink()
    (there / "q.log").symlink_to(precious)
    assert started.last_words() == ""
    with pytest.raises(NotMigratable, match="symbolic links"):
        start(plan(there), "/bin/true", "x")
    assert precious.read_text() == "precious\n"


def test_what_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(NotMigratable, match="/gone cannot be started: No such file"):
        start(plan(tmp_path), "/gone", "x")
