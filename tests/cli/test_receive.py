"""The far end's command, without a receiver; with one, and with ssh, it is in tests/integration/test_ssh.py."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nbdtun.cli import receive
from nbdtun.reach.relay import door_path
from nbdtun.service.offered import OfferSettings, Standing
from tests.cli.stage import run


def test_there_is_nobody_to_join(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, err = run(capsys, "receive", "web1", "--over-ssh", "join", "--run-dir", f"{tmp_path}")
    assert (status, err) == (1, "nbdtun: nothing receives web1 there any more [reach]\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["start", "join", "serve"])
def test_a_name_is_no_path(capsys: pytest.CaptureFixture[str], tmp_path: Path, way: str) -> None:
    status, _, err = run(capsys, "receive", "../web1", "--over-ssh", way, "--run-dir", f"{tmp_path}")
    assert status == 2
    assert "is not a valid name" in err


def test_only_a_door_of_this_user_is_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = door_path(tmp_path, "web1")
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{path}")
        listening.listen()
        joined = receive._join(tmp_path, "web1")
        assert joined is not None
        joined.close()
        monkeypatch.setattr(os, "geteuid", lambda: 4711)
        assert receive._join(tmp_path, "web1") is None


def test_without_ssh_it_offers_a_code(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[OfferSettings] = []
    monkeypatch.setattr(Standing, "begin", lambda standing: asked.append(standing._settings))
    monkeypatch.setattr("nbdtun.cli.reactor.run", lambda reactor, start, handlers: start())
    monkeypatch.setattr("nbdtun.login.is_ended_at_logout", lambda: False)
    monkeypatch.setattr(receive, "log_to_stderr", lambda bars: None)
    monkeypatch.setattr("nbdtun.process.settle_in", lambda reactor: None)
    assert run(capsys, "receive", "web1")[0] == 0
    assert run(capsys, "receive", "web1", "--listen", "5", "--incoming", "/q", "--within", "1min", "--run-dir", "/r")[0] == 0
    assert asked == [OfferSettings("web1", "10810"), OfferSettings("web1", "5", "/q", "/r", 60.0)]


def test_it_leaves_a_session_whose_end_would_be_its_own(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user does not linger, it says so and stays."""
    ran: list[list[str]] = []
    monkeypatch.setattr("nbdtun.login.is_ended_at_logout", lambda: True)
    monkeypatch.setattr(os, "execvp", lambda file, words: ran.append(words))
    monkeypatch.setattr("nbdtun.login.lingers", lambda: False)
    receive._outlive_the_login()
    assert "`loginctl enable-linger` there lets them go on" in capsys.readouterr().err
    monkeypatch.setattr("nbdtun.login.lingers", lambda: True)
    receive._outlive_the_login()
    (words,) = ran
    assert words[-len(sys.orig_argv) :] == sys.orig_argv


def test_a_vm_may_be_called_start() -> None:
    words = ["python3", "nbdtun", "receive", "start", "--over-ssh", "start"]
    assert receive.serving(words) == ["python3", "nbdtun", "receive", "start", "--over-ssh", "serve"]


def test_a_relay_loads_no_reactor(tmp_path: Path) -> None:
    """Each link through ssh starts one."""
    code = f"""
import sys
from nbdtun.cli import main
status = main(['receive', 'web1', '--over-ssh', 'join', '--run-dir', {str(tmp_path)!r}])
print(status, [name for name in sys.modules if name.partition('.')[0] in ('twisted', 'cryptography')])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1 []\n", "nbdtun: nothing receives web1 there any more [reach]\n")
