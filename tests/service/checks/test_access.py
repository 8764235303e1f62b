"""Whether another user could use our sockets: by real directories, and by what /proc would say."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nbdtun.config import Owner
from nbdtun.migration.catalogue import SOCKETS
from nbdtun.migration.check.checklist import Checklist
from nbdtun.ownership.reach import Credentials
from nbdtun.service.checks import access
from nbdtun.service.checks.access import User, check_access, confinement
from nbdtun.service.local.rundir import RunDir
from tests.powers import ordinary

STATUS = "Name:\tqemu\nUid:\t107\t107\t107\t107\nGroups:\t36 107 \nCapEff:\t{}\n"
QEMU = Credentials(1234567, 107, 108)


@pytest.fixture
def base() -> Iterator[Path]:
    """A path that everybody may enter, short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def proc(base: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc in which QEMU is a process of user 107."""
    place = base / "proc" / f"{QEMU.pid}"
    (place / "attr").mkdir(parents=True)
    (place / "status").write_text(STATUS.format("0000000000000000"))
    (place / "attr/current").write_text("unconfined\n")
    monkeypatch.setattr(access, "_PROC", base / "proc")
    return place


def lines(rundir: RunDir, qemu: Credentials = QEMU) -> list[str]:
    checklist = Checklist()
    check_access(checklist, SOCKETS, rundir, qemu)
    return [f"{one.level.value}: {one}" for one in checklist.findings]


def test_a_directory_that_qemu_can_use(base: Path, proc: Path) -> None:
    assert lines(RunDir(f"{base}/run/deep", Owner(107))) == [f"ok: {base}/run/deep: QEMU (uid 107) can use sockets there"]
    assert not (base / "run").exists()


def test_one_on_the_way_that_it_may_not_enter(base: Path, proc: Path) -> None:
    (base / "a").mkdir()
    (base / "a").chmod(0o710)
    assert lines(RunDir(f"{base}/a/run", Owner(107))) == [
        f"failure: run directory {base}/a/run: QEMU (uid 107) may not enter {base}/a (mode 710); "
        f"chmod o+x {base}/a, or choose another with --run-dir"
    ]
    (proc / "status").write_text(STATUS.format("0000000000000002"))  # CAP_DAC_OVERRIDE
    assert lines(RunDir(f"{base}/a/run", Owner(107)))[0].startswith("ok")


def test_sockets_of_somebody_else(base: Path, proc: Path) -> None:
    assert lines(RunDir(f"{base}/run", Owner(4711))) == [
        f"failure: run directory {base}/run: it would belong to uid 4711, but QEMU runs as uid 107; "
        "run nbdtun as root or as QEMU's user, or give --socket-owner"
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_a_place_that_somebody_else_could_put_his_own_in(base: Path, proc: Path) -> None:
    os.chown(base, 4711, 4711)
    (line,) = lines(RunDir(f"{base}/run", Owner(107)))
    assert line.startswith(
        f"failure: run directory {base}/run: {base} belongs to uid 4711, which could replace its entries; choose another with --run-dir"
    )
    os.chown(base, 107, 107)
    (line,) = lines(RunDir(f"{base}/run", Owner(107)))
    assert "belongs to uid 107" in line  # not even QEMU's user


def test_a_path_that_is_too_long(base: Path, proc: Path) -> None:
    (line,) = lines(RunDir(f"{base}/{'x' * 80}", Owner(107)))
    assert ": too long for the path of a UNIX socket: " in line
    assert line.endswith(" bytes, at most 107; choose another with --run-dir")


def test_a_place_that_is_no_directory(base: Path, proc: Path) -> None:
    (base / "file").touch()
    (line,) = lines(RunDir(f"{base}/file/run", Owner(107)))
    assert line == f"failure: run directory {base}/file/run: {base}/file is not a directory; choose another with --run-dir"


def test_the_place_itself_is_named_once(base: Path, proc: Path) -> None:
    (base / "run").mkdir(mode=0o500)
    with ordinary():
        (line,) = lines(RunDir(f"{base}/run", Owner(os.getuid())))
    assert line == f"failure: run directory {base}/run cannot be written to; choose another with --run-dir"


def test_a_place_behind_a_directory_that_may_not_be_entered(base: Path, proc: Path) -> None:
    (base / "closed/run").mkdir(parents=True)
    (base / "closed").chmod(0)
    with ordinary():
        (line,) = lines(RunDir(f"{base}/closed/run", Owner(os.getuid())))
    assert line == f"failure: run directory {base}/closed/run: {base}/closed cannot be written to; choose another with --run-dir"
    (base / "closed").chmod(0o700)


def test_a_container_that_has_another_directory_there(base: Path, proc: Path) -> None:
    """Nothing, another one, or the same by a bind mount; nothing is known of a process that may not be traced."""
    rundir, other = RunDir(f"{base}/run", Owner(107)), f"QEMU (pid {QEMU.pid}) has another {base} than this host, or none"
    root = proc / "root"
    root.mkdir()
    assert other in lines(rundir)[0]
    (root / f"{base}"[1:]).mkdir(parents=True)
    assert other in lines(rundir)[0]
    root.rename(proc / "away")
    root.symlink_to("/")
    assert lines(rundir)[0].startswith("ok")
    root.unlink()
    assert lines(rundir)[0].startswith("ok")


def test_a_security_module_is_told_of(base: Path, proc: Path) -> None:
    (proc / "attr/current").write_text("libvirt-1234 (enforce)\n")
    assert lines(RunDir(f"{base}/run", Owner(107)))[1] == (
        "warning: QEMU is confined by AppArmor (profile libvirt-1234); "
        f"let its policy allow sockets below {base}/run, or choose another with --run-dir"
    )


@pytest.mark.parametrize(
    ("attribute", "by"),
    [
        ("", ""),
        ("unconfined\n", ""),
        ("libvirt-1234 (complain)\n", ""),
        ("libvirt-1234 (enforce)\n", "AppArmor (profile libvirt-1234)"),
        ("unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023\0", ""),
        ("system_u:system_r:svirt_t:s0:c1,c2\0", "SELinux (system_u:system_r:svirt_t:s0:c1,c2)"),
    ],
)
def test_who_confines(attribute: str, by: str) -> None:
    assert confinement(attribute) == by


def test_who_may_enter(base: Path, proc: Path) -> None:
    user = User.of(QEMU, proc.parent)
    assert user == User(107, frozenset({36, 107, 108}), False)
    for uid, gid, mode, enters in (
        (107, 0, 0o100, True),
        (107, 0, 0o011, False),
        (0, 36, 0o010, True),
        (0, 36, 0o101, False),
        (0, 0, 0o001, True),
        (0, 0, 0o770, False),
    ):
        directory = os.stat_result((mode, 0, 0, 0, uid, gid, 0, 0, 0, 0))
        assert user.enters(directory) is enters, (uid, gid, oct(mode))
    assert User.of(Credentials(7, 0, 0), proc.parent).almighty  # root, of whom nothing else is known
    assert not User.of(Credentials(7, 5, 5), proc.parent).almighty
