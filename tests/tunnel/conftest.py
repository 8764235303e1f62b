"""Fixtures of the tunnel's tests."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nbdtun import certs
from nbdtun.tunnel import tls
from nbdtun.tunnel.tls_files import CA_CERT, CA_KEY
from tests.tunnel.conversation import Conversation, Directory, End
from tests.tunnel.crank import Crank
from tests.tunnel.stage import Stage


@pytest.fixture
def make_stage() -> Iterator[Callable[..., Stage]]:
    """Makes stages, and clears them away."""
    made: list[Stage] = []

    def make(*args: Any, **options: Any) -> Stage:
        made.append(Stage(*args, **options))
        return made[-1]

    yield make
    for stage in made:
        stage.cable.cut()
        for program in (*stage.near_programs, *stage.target.programs):
            program.close()


@pytest.fixture
def crank() -> Crank:
    return Crank()


@pytest.fixture(scope="session")
def tls_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of both ends, for localhost."""
    directory = tmp_path_factory.mktemp("tls")
    certs.make(directory, ["localhost"])
    return directory


@pytest.fixture
def stage(make_stage: Callable[..., Stage]) -> Stage:
    """A stage on the usual terms, with a small window."""
    return make_stage()


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
        ends.append(End(tls.wrap_server(server, pair[0])))
        ends.append(End(tls.wrap_client(client, pair[1], name)))
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
            certs.make(authority, ["localhost"])
        path.mkdir()
        for name in (CA_CERT, CA_KEY):
            shutil.copy(authority / name, path)
        with monkeypatch.context() as patch:
            patch.setattr(certs, "BACKDATED", datetime.timedelta(seconds=-start))
            patch.setattr(certs, "LIFETIME", datetime.timedelta(seconds=end))
            certs.make(path, list(hosts))
        return path

    return make
