"""The program that is started again: with our command line, our environment and these descriptors."""

from __future__ import annotations

import json
import socket
import sys
from unittest.mock import Mock

import pytest

from nbdtun.daemon import program
from nbdtun.daemon.program import OwnProgram, command_line, predecessor, start
from nbdtun.errors import ConfigError
from nbdtun.service.local.heritage import VARIABLE

SHOWS = f"import os, socket; s = socket.socket(fileno=__import__('json').loads(os.environ['{VARIABLE}'])['link']); s.send(b'here')"


def test_it_is_our_own_command_line() -> None:
    assert command_line() == [sys.executable, *sys.orig_argv[1:]]


def test_it_has_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    tells = f"{SHOWS}; s.send(os.environ['NOTIFY_SOCKET'].encode()); s.send(os.environ['{VARIABLE}'].encode())"
    monkeypatch.setattr(program, "command_line", lambda: [sys.executable, "-c", tells])
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.create_server(("127.0.0.1", 0)) as listener:
        process = start({"NOTIFY_SOCKET": "/n"}, theirs, {"tcp:1": listener.fileno()})
        assert process.wait(20) == 0
        told = ours.recv(1000)
        assert told.startswith(b"here/n")
        assert json.loads(told[6:]) == {"link": theirs.fileno(), "listeners": {"tcp:1": listener.fileno()}}


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
