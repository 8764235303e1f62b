"""Whose TCP connection it is, within this host."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

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
        assert stranger(client, accepted=False) == ""  # while it waits to be accepted
        with server.accept()[0] as accepted:
            assert stranger(client, accepted=False) == stranger(accepted, accepted=True) == ""


@needs_root
@pytest.mark.parametrize("bound", ["127.0.0.1", "::"])
def test_another_user_who_connects_is_one(bound: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.create_server((bound, 0), family=family, dualstack_ipv6=bound == "::") as server:
        server.settimeout(10)
        command = [sys.executable, "-c", CLIENT.format(OTHER, "127.0.0.1", server.getsockname()[1])]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as other, server.accept()[0] as accepted:
            assert stranger(accepted, accepted=True) == f"uid {OTHER} is at the other end"
            assert other.stdin is not None
            other.stdin.close()
            other.wait()
            assert stranger(accepted, accepted=True) == "the user at the other end is unknown"  # and not root, as which the kernel lists it


@needs_root
def test_another_user_who_listens_is_one() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER.format(OTHER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        with socket.create_connection(("127.0.0.1", int(other.stdout.readline()))) as client:
            assert stranger(client, accepted=False) == f"uid {OTHER} is at the other end"
        other.kill()


@needs_root
def test_who_listens_at_the_port_of_a_client_that_has_gone_is_not_the_client() -> None:
    """Its data have arrived all the same. Root may listen at that port of IPv6 alone, and another user connect from it."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        client.send(b"open, please")
        roots = socket.create_server(("::", client.getsockname()[1]), family=socket.AF_INET6)
        client.close()
        with roots, server.accept()[0] as accepted:
            assert stranger(accepted, accepted=True) == "the user at the other end is unknown"


def test_who_cannot_be_told_apart_in_a_user_namespace_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())
    monkeypatch.setattr(loopback, "_users", lambda *_, **__: {overflow})
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert stranger(client, accepted=False) == f"uid {overflow} is at the other end"


def test_root_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert stranger(client, accepted=False) == ""


def test_unix_sockets_are_guarded_by_their_modes() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert stranger(ours, accepted=True) == ""
