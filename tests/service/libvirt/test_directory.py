"""The directory of a migration's sockets, which the other end names."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from nbdtun.errors import ConfigError, ProtocolViolation
from nbdtun.service.libvirt.directory import SocketDirectory, sweep

SESSION = "0123456789abcdef" * 2


def test_it_is_made_for_all_to_pass_through(base: Path) -> None:
    made = SocketDirectory(f"{base}/{SESSION}", SESSION, None, [f"{base}"])
    made.make()
    found = (base / SESSION).stat()
    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o711, os.getuid())
    assert made.socket("libvirt.sock") == f"{base}/{SESSION}/libvirt.sock"
    made.remove()
    made.remove()
    assert list(base.iterdir()) == []


def test_others_have_theirs_beside_it(base: Path) -> None:
    made = SocketDirectory(f"{base}/{SESSION}", SESSION, None, [f"{base}"])
    made.make()
    (base / "other").mkdir()
    made.remove()
    assert [path.name for path in base.iterdir()] == ["other"]


@pytest.mark.parametrize("path", [f"/tmp/{SESSION}/..", f"/tmp/x/../{SESSION}", "/etc", f"tmp/{SESSION}", f"/tmp/{SESSION}/more"])
def test_a_directory_that_is_not_the_sessions_is_refused(path: str) -> None:
    made = SocketDirectory(path, SESSION, None, ["/tmp"])
    with pytest.raises(ProtocolViolation, match="not its session's"):
        made.make()
    made.remove()


def test_what_is_there_is_never_taken(base: Path) -> None:
    (base / SESSION).mkdir(parents=True)
    made = SocketDirectory(f"{base}/{SESSION}", SESSION, None, [f"{base}"])
    with pytest.raises(ConfigError, match="is there already"):
        made.make()
    made.remove()
    assert (base / SESSION).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives things away")
def test_sockets_are_qemus_where_it_has_another_user() -> None:
    assert SocketDirectory("/x", SESSION, (64055, 108)).owner == (64055, 108)
    assert SocketDirectory("/x", SESSION, (0, 0)).owner is None


def test_what_a_killed_source_has_left_is_removed(base: Path) -> None:
    dead, living, arriving = (base / name for name in ("dead", "living", "arriving"))
    for directory, name in ((dead, "libvirt"), (living, "libvirt"), (arriving, "memory")):
        directory.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(f"{directory}/{name}.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        (living / "libvirt.sock").unlink()
        listener.bind(f"{living}/libvirt.sock")
        listener.listen()
        sweep(base)
    assert sorted(path.name for path in base.iterdir()) == ["arriving", "living"]
