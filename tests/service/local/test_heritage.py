"""What a new program has from the one before it: sockets, by name; and nothing from anybody else."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from nbdtun.errors import ConfigError
from nbdtun.ownership.reach import Credentials
from nbdtun.service.local import heritage
from nbdtun.service.local.heritage import VARIABLE, bequeath, claim, inherit, renounce


def test_each_socket_is_claimed_once() -> None:
    ours, theirs = socket.socketpair()
    listener, other = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    listener.set_inheritable(True)
    environment = bequeath(theirs.detach(), {"tcp:1": listener.detach(), "tcp:2": (spare := other.detach())})
    link = inherit(environment)
    assert environment == {}
    assert link is not None
    link.send(b"here")
    assert ours.recv(10) == b"here"
    assert claim("tcp:3") is None
    found = claim("tcp:1")
    assert found is not None
    with socket.socket(fileno=found) as sock:
        assert not sock.get_inheritable()
    assert claim("tcp:1") is None
    renounce()
    with pytest.raises(OSError, match="Bad file descriptor"):
        socket.socket(fileno=spare)
    assert claim("tcp:2") is None
    link.close()
    ours.close()


def test_most_have_none() -> None:
    assert inherit({}) is None


@pytest.mark.parametrize(
    "text", ["nonsense", "[]", "{}", '{"link": "x", "listeners": {}}', '{"link": 0, "listeners": {}}', '{"link": 987654321}']
)
def test_a_variable_that_names_no_sockets_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def no_socket(fileno: int) -> Any:
        return real(fileno=987654321 if fileno == 0 else fileno)  # the tests' own standard input stays

    monkeypatch.setattr("nbdtun.service.local.heritage.socket.socket", no_socket)
    with pytest.raises(ConfigError, match=f"{VARIABLE}: it names no sockets of a daemon: .*; start the daemon without it"):
        inherit({VARIABLE: text})


def test_another_users_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(heritage, "peer", lambda sock: Credentials(1, 4711, 4711))
    with ours, pytest.raises(ConfigError, match="another user has made its socket"):
        inherit(bequeath(theirs.detach(), {}))
