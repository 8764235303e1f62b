"""Nobody else can put his own directory in the place of ours, whatever he has prepared in /tmp."""

from __future__ import annotations

import grp
import os
import pwd
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from nbdtun.errors import ConfigError
from nbdtun.ownership import way
from nbdtun.service.local.ownership import check

MALLORY = 4711
NOBODY = 65534

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory of root's in /tmp."""
    with tempfile.TemporaryDirectory(prefix="nt-", dir="/tmp") as name:
        yield Path(name)


def mallorys(path: Path) -> Path:
    os.chown(path, MALLORY, MALLORY, follow_symlinks=False)
    return path


def made(path: Path) -> Path:
    path.mkdir()
    return path


def refused(path: Path, *trusted: int) -> str:
    with pytest.raises(ConfigError) as caught:
        check(path, trusted)
    return caught.value.line


def test_one_of_our_own_below_a_sticky_one(place: Path) -> None:
    check(made(place / "run"), ())


def test_one_that_is_not_there_yet(place: Path) -> None:
    check(place / "run" / "deep", ())
    assert "belongs to uid 4711" in refused(mallorys(made(place / "his")) / "run" / "deep")


def test_one_that_somebody_has_made_before(place: Path) -> None:
    his = mallorys(made(place / "run"))
    assert refused(his) == (f"run directory {his}: {his} belongs to uid 4711, which could replace its entries [config]")
    check(his, (MALLORY,))  # as QEMU's user is trusted


def test_one_that_lies_in_somebody_elses(place: Path) -> None:
    mine = made(mallorys(made(place / "his")) / "run")
    assert f"{place}/his belongs to uid 4711" in refused(mine)


def test_one_behind_somebody_elses_link(place: Path) -> None:
    (place / "run").symlink_to(made(place / "mine"))
    check(place / "run", ())
    assert f"{place}/run belongs to uid 4711" in refused(mallorys(place / "run"))


def test_a_link_into_somebody_elses(place: Path) -> None:
    (place / "run").symlink_to(made(mallorys(made(place / "his")) / "run"))
    assert f"{place}/his belongs to uid 4711" in refused(place / "run")


def test_one_that_everybody_may_write_to(place: Path) -> None:
    run = made(place / "run")
    run.chmod(0o777)
    assert f"any user could replace the entries of {run} (it is not sticky)" in refused(run)
    run.chmod(0o1777)
    check(run, ())


def test_one_that_a_group_may_write_to(place: Path) -> None:
    run = made(place / "run")
    run.chmod(0o2775)
    check(run)  # the group is root's
    os.chown(run, 0, 4711)
    assert f"group 4711 could replace the entries of {run} (it is not sticky)" in refused(run)
    run.chmod(0o3775)
    check(run)


def listed(path: Path, *entries: tuple[int, int, int]) -> Path:
    """With an access control list, as the kernel has it."""
    all_of_them = [(0x01, 7, -1), *entries, (0x04, 5, -1), (0x10, 7, -1), (0x20, 5, -1)]
    packed = b"".join(struct.pack("<HHi", *entry) for entry in sorted(all_of_them))
    try:
        os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + packed)
    except OSError as failure:
        pytest.skip(f"no access control lists here: {failure.strerror}")
    return path


def test_one_that_an_access_control_list_lets_others_write_to(place: Path) -> None:
    run = listed(made(place / "run"), (0x02, 7, MALLORY))
    assert f"uid 4711 could replace the entries of {run} (by its access control list)" in refused(run)
    check(run, (MALLORY,))
    assert "group 4712 could replace" in refused(listed(made(place / "team"), (0x08, 7, 4712)))
    check(listed(made(place / "read"), (0x02, 5, MALLORY), (0x08, 5, 4712)))


def test_the_group_of_a_user_alone_is_the_user(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(place / "run")
    run.chmod(0o775)
    os.chown(run, 0, 4711)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: SimpleNamespace(pw_name="joe", pw_gid=4711))
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name="joe", gr_gid=gid, gr_mem=["joe"]))
    check(run)
    monkeypatch.setattr(grp, "getgrgid", lambda gid: SimpleNamespace(gr_name="joe", gr_gid=gid, gr_mem=["eve"]))
    assert "group 4711" in refused(run)


def test_root_itself_may_be_unknown_in_a_namespace(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots = made(place / "run")
    os.chown(roots, NOBODY, NOBODY)
    refused(roots)
    (place / "map").write_text("         0       1000          1\n")
    monkeypatch.setattr(way, "_UID_MAP", place / "map")
    check(roots, ())


def test_a_link_that_leads_through_his_directory_to_ours(place: Path) -> None:
    """The end is ours, and so is the first link; but what lies between he can replace."""
    (ours := made(place / "ours")).chmod(0o755)
    between = made(place / "between")
    (between / "link").symlink_to(ours)
    mallorys(between)
    (place / "first").symlink_to("between/../between/link")
    assert f"{between} belongs to uid 4711" in refused(place / "first" / "run")


def test_links_without_end_are_left_to_whoever_uses_them(place: Path) -> None:
    (place / "one").symlink_to("two")
    (place / "two").symlink_to("one")
    check(place / "one", ())
