"""Fixtures of TLS: certificates, and two ends that talk."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nbdtun.tls import contexts, issue
from nbdtun.tls.store import CA_CERT, CA_KEY
from tests.tls.stage.conversation import Conversation, Directory, End


@pytest.fixture(scope="session")
def tls_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of both ends, for localhost."""
    directory = tmp_path_factory.mktemp("tls")
    issue.make(directory, ["localhost"])
    return directory


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair()
    left.setblocking(False)
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def talk(pair: tuple[socket.socket, socket.socket]) -> Iterator[Callable[..., Conversation]]:
    ends: list[End] = []

    def start(server: ssl.SSLContext, client: ssl.SSLContext, name: str = "dest.example") -> Conversation:
        ends.append(End(contexts.wrap_server(server, pair[0])))
        ends.append(End(contexts.wrap_client(client, pair[1], name)))
        return Conversation(*ends).run()

    yield start
    for end in ends:
        end.sock.close()


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Directory:
    """Makes directories: of one CA unless ``ca`` names another; their certificates may be valid too early or too late."""

    def make(ca: str = "ca", start: float = -3600, end: float = 3600, hosts: tuple[str, ...] = ("dest.example", "192.0.2.1")) -> Path:
        path = tmp_path / f"{ca}{start}{end}{len(hosts)}"
        authority = tmp_path / ca
        if not authority.exists():
            issue.make(authority, ["localhost"])
        path.mkdir()
        for name in (CA_CERT, CA_KEY):
            shutil.copy(authority / name, path)
        with monkeypatch.context() as patch:
            patch.setattr("nbdtun.tls.pki.authority.BACKDATED", datetime.timedelta(seconds=-start))
            patch.setattr("nbdtun.tls.pki.authority.LIFETIME", datetime.timedelta(seconds=end))
            issue.make(path, list(hosts))
        return path

    return make
