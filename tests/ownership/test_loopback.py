"""Whose TCP connection it is, within this host."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from nbdtun.ownership import loopback
from nbdtun.ownership.loopback import stranger

OTHER = 65533
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
CLIENT = "import encodings.idna, os, socket, sys; os.setuid({}); s = socket.create_connection(('{}', {})); sys.stdin.read()"
SERVER = (
    "import encodings.idna, os, socket, sys; os.setuid({}); s = socket.create_server(('127.0.0.1', 0)); "
    "print(s.getsockname()[1], flush=True); sys.stdin.read()"
)


@pytest.mark.parametrize(("bound", "dialled"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1")])
def test_our_own_is_none(bound: str, dialled: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with (
        socket.create_server((bound, 0), family=family, dualstack_ipv6=bound == "::") as server,
        socket.create_connection((dialled, server.getsockname()[1])) as client,
    ):
        assert stranger(client) == ""  # while it waits to be accepted
        with server.accept()[0] as accepted:
            assert stranger(client) == stranger(accepted) == ""


@needs_root
@pytest.mark.parametrize("bound", ["127.0.0.1", "::"])
def test_another_user_who_connects_is_one(bound: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.create_server((bound, 0), family=family, dualstack_ipv6=bound == "::") as server:
        server.settimeout(10)
        command = [sys.executable, "-c", CLIENT.format(OTHER, "127.0.0.1", server.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as other, server.accept()[0] as accepted:
            assert stranger(accepted) == f"uid {OTHER} is at the other end"
            assert other.stdin is not None
            other.stdin.close()
            other.wait()
            assert stranger(accepted) == "the user at the other end is unknown"  # and not root, as which the kernel lists it


@needs_root
def test_another_user_who_listens_is_one() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER.format(OTHER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        with socket.create_connection(("127.0.0.1", int(other.stdout.readline()))) as client:
            assert stranger(client) == f"uid {OTHER} is at the other end"
        other.kill()


def test_root_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loopback, "known", lambda: frozenset({0, os.geteuid()}))
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert stranger(client) == ""


def test_unix_sockets_are_guarded_by_their_modes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert stranger(ours) == ""
