from __future__ import annotations

import socket
from pathlib import Path

import pytest

from nbdtun.errors import MonitorError
from nbdtun.migration.qmp import dial as module
from nbdtun.migration.qmp.dial import dial, is_forbidden, is_served


def test_a_socket_of_somebody_else() -> None:
    text = module._remedy(PermissionError(13, "Permission denied"), "/proc/1/mem")
    assert text == "run as root or as QEMU's user (it is owned by uid 0)"
    assert "another user" in module._remedy(PermissionError(13, "Permission denied"), "/no/such/file")


def test_a_remedy_is_one_for_programs_too(tmp_path: Path) -> None:
    path = f"{tmp_path}/monitor.sock"
    with pytest.raises(MonitorError) as missing:
        dial(path)
    assert missing.value.what == f"{path}: No such file or directory"
    assert missing.value.remedy == "is QEMU running, with -qmp unix:PATH,server=on,wait=off?"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
    with pytest.raises(MonitorError) as dead:
        dial(path)
    assert (dead.value.what, dead.value.remedy) == (f"{path}: Connection refused; QEMU has ended", "start it again")


def test_a_socket_that_nobody_serves(tmp_path: Path) -> None:
    path = tmp_path / "monitor.sock"
    assert not is_served(f"{path}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{path}")
        server.listen()
        assert is_served(f"{path}")
    assert not is_served(f"{path}")


def test_a_socket_that_this_user_may_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_forbidden(f"{tmp_path}/none")

    def refuse(path: str) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "reach", refuse)
    assert is_forbidden(f"{tmp_path}/any")
