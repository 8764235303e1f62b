"""The program that is started again: with our command line, our environment and these descriptors."""

from __future__ import annotations

import json
import os
import socket
import sys
from unittest.mock import Mock

import pytest

from lab.programs import alive
from nbdtun.daemon import program
from nbdtun.daemon.program import OwnProgram, command_line, predecessor, start
from nbdtun.errors import ConfigError
from nbdtun.service.local.heritage import VARIABLE

SHOWS = f"import os, socket; s = socket.socket(fileno=__import__('json').loads(os.environ['{VARIABLE}'])['link']); s.send(b'here')"


def test_it_is_our_own_command_line() -> None:
    assert command_line() == [sys.executable, *sys.orig_argv[1:]]


def test_it_has_what_it_is_given_and_is_nobodys_child_here(monkeypatch: pytest.MonkeyPatch) -> None:
    tells = f"{SHOWS}; s.send(os.environ['NOTIFY_SOCKET'].encode()); s.send(os.environ['{VARIABLE}'].encode()); s.recv(1)"
    monkeypatch.setattr(program, "command_line", lambda: [sys.executable, "-c", tells])
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as listener:
        started = start({"NOTIFY_SOCKET": "/n"}, theirs, {"tcp:1": listener.fileno()})
        wanted, told = json.dumps({"link": theirs.fileno(), "listeners": {"tcp:1": listener.fileno()}}), b""
        while not told.endswith(wanted.encode()):
            told += ours.recv(1000)
        assert told == b"here/n" + wanted.encode()
        with pytest.raises(ChildProcessError):
            os.waitpid(started.pid, os.WNOHANG)
        theirs.close()
        assert alive(started.pid)
        started.kill()
        assert ours.recv(1) == b""
        started.kill()


def test_a_program_that_is_not_there_ends_at_once(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(program, "command_line", lambda: ["/nonexistent"])
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    with ours:
        with theirs:
            start({}, theirs, {})
        assert ours.recv(1) == b""
    assert capfd.readouterr().err == "/nonexistent: No such file or directory\n"


def test_a_wrong_heritage_is_a_wrong_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "nonsense")
    refused: list[ConfigError] = []
    with pytest.raises(ConfigError):
        predecessor(refused.append)
    assert len(refused) == 1
    assert predecessor(refused.append) is None


@pytest.mark.parametrize("succeeds", [False, True])
def test_one_that_succeeds_another_repeats_what_it_tells(succeeds: bool) -> None:
    daemon = Mock()
    own = OwnProgram(print, succeeds=succeeds)
    own.join(daemon)
    assert daemon.manager.repeat.called is succeeds
    own.main(7)
    own.leave(at_once=True)
    assert (daemon.manager.main.call_args.args, daemon.end.call_args.kwargs) == ((7,), {"at_once": True})


def test_before_there_is_a_daemon_nothing_is_told() -> None:
    own = OwnProgram(print)
    own.main(1)
    own.leave(at_once=True)
