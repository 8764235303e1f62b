"""From settings to endpoints, without anything that listens or dials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from nbdtun.config import Owner, SourceSettings, TunnelSettings
from nbdtun.config.endpoints import Role, parse
from nbdtun.errors import ConfigError
from nbdtun.service.ends import make_listener, make_runtime, make_source


class Reactor:
    """Remembers what it was asked to listen on."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def listenUNIX(self, path: str, factory: Any, backlog: int, mode: int, wantPID: bool) -> object:
        self.asked.append((path, mode, bool(wantPID)))
        return object()


def listened(text: str, **settings: Any) -> Any:
    reactor = Reactor()
    endpoint = make_listener(reactor, parse(text, Role.LISTEN), TunnelSettings(**settings))
    endpoint.endpoint.listen(object())
    return endpoint, reactor.asked[0]


def test_a_socket_is_private_unless_told_otherwise(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert listened(f"unix:{path}")[1] == (path, 0o600, False)
    assert listened(f"unix:{path}", socket_mode=0o640)[1] == (path, 0o640, False)
    assert listened(f"unix:{path}:mode=660", socket_mode=0o640)[1] == (path, 0o660, False)
    assert listened(f"unix:{path}:lockfile=1")[1] == (path, 0o600, True)


def test_a_socket_has_an_owner_and_a_port_has_none(tmp_path: Path) -> None:
    endpoint, _ = listened(f"unix:{tmp_path}/s", socket_owner=Owner(7, 8))
    assert (endpoint.owner, endpoint.path, endpoint.label) == ((7, 8), f"{tmp_path}/s", f"unix:{tmp_path}/s")
    port = make_listener(Reactor(), parse("tcp:1:interface=127.0.0.1", Role.LISTEN), TunnelSettings(socket_owner=Owner(7, 8)))
    assert (port.owner, port.path) == (None, None)


def test_terms_are_those_of_the_settings() -> None:
    terms = make_runtime(Clock(), TunnelSettings(window=2**20, link_timeout=3, resume_window=4)).terms
    assert (terms.window, terms.link_timeout, terms.resume_window) == (2**20, 3, 4)


def test_certificates_are_read_before_anything_is_dialled(tmp_path: Path) -> None:
    settings = SourceSettings(tunnel=TunnelSettings(tls_dir=str(tmp_path / "none")), connect="tcp:there:1", forwards=())
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        make_source(object(), settings)
