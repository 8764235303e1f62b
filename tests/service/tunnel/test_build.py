"""From settings to endpoints, without anything that listens or dials."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pytest
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory

from nbdtun.config import Owner, SourceSettings, TunnelSettings
from nbdtun.config.endpoints import Role, parse
from nbdtun.errors import ConfigError
from nbdtun.service.local.listening import BothFamilies
from nbdtun.service.tunnel.build import make_client, make_listener, make_runtime, make_source
from nbdtun.tunnel.wires.tuning import UNPACED
from tests.tunnel.stage.crank import Crank


class Reactor(Crank):
    """Remembers what it was asked to listen on."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Any] = []

    def listenTCP(self, port: int, factory: Any, backlog: int, interface: str) -> Any:
        return SimpleNamespace(socket=self.remembering(interface))

    def connectTCP(self, host: str, port: int, factory: Any, **options: Any) -> Any:
        return SimpleNamespace(transport=SimpleNamespace(socket=self.remembering(host)))

    def remembering(self, host: str) -> Any:
        """A socket that remembers what the kernel is asked for, and for which host."""
        return SimpleNamespace(setsockopt=lambda level, option, value: self.asked.append((host, value)))


def listener(text: str, **settings: Any) -> Any:
    return make_listener(Reactor(), parse(text, Role.LISTEN), TunnelSettings(**settings)).endpoint


def test_a_socket_is_private_unless_told_otherwise(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    assert (listener(f"unix:{path}").path, listener(f"unix:{path}").mode, listener(f"unix:{path}").backlog) == (path, 0o600, 50)
    assert listener(f"unix:{path}", socket_mode=0o640).mode == 0o640
    assert listener(f"unix:{path}:mode=660", socket_mode=0o640).mode == 0o660
    assert listener(f"unix:{path}:660:7").mode == 0o660
    assert listener(f"unix:{path}:660:7").backlog == 7
    assert listener(f"unix:address={path}-mode=z.sock").mode == 0o600  # which is a part of its name
    assert listener(rf"unix:{path}-mode\=z.sock:lockfile=0").mode == 0o600


def test_the_run_directory_is_made_for_a_socket_in_it_and_no_other() -> None:
    settings = TunnelSettings(run_dir="/run/other")
    for path, folder in (("/run/other/s", "/run/other"), ("/run/other/deep/s", ""), ("/run/s", "")):
        assert make_listener(Reactor(), parse(f"unix:{path}", Role.LISTEN), settings).folder == folder


def test_a_socket_of_systemds_that_is_not_there() -> None:
    """As where somebody starts the unit's command by hand."""
    with pytest.raises(ConfigError) as refused:
        listener("systemd:domain=INET6:index=0")
    what = "systemd:domain=INET6:index=0: no such endpoint can be made (IndexError: list index out of range)"
    assert str(refused.value) == f"{what}; is it started by its socket unit?"


def test_a_socket_has_an_owner_and_a_port_has_none(tmp_path: Path) -> None:
    assert listener(f"unix:{tmp_path}/s", socket_owner=Owner(7, 8)).owner == (7, 8)
    assert not hasattr(listener("tcp:1:interface=127.0.0.1", socket_owner=Owner(7, 8)), "owner")
    with pytest.raises(ConfigError, match="leave lockfile= out"):
        listener(f"unix:{tmp_path}/s:lockfile=1")


@pytest.mark.parametrize(
    ("host", "unpaced"), [("127.0.0.1", True), ("localhost", True), (r"\:\:1", True), ("192.0.2.1", False), (r"fd00\:\:1", False)]
)
def test_what_is_dialled_within_a_host_is_not_paced(host: str, unpaced: bool) -> None:
    reactor = Reactor()
    make_client(reactor, f"tcp:{host}:1").connect(Factory())
    assert reactor.asked == ([(host.replace("\\", ""), UNPACED)] if unpaced else [])


@pytest.mark.parametrize(("interface", "unpaced"), [("127.0.0.1", True), (r"\:\:1", True), ("192.0.2.1", False)])
def test_what_is_accepted_within_a_host_is_not_paced(interface: str, unpaced: bool) -> None:
    reactor = Reactor()
    make_listener(reactor, parse(f"tcp:1:interface={interface}", Role.LISTEN), TunnelSettings()).endpoint.listen(Factory())
    assert reactor.asked == ([(interface.replace("\\", ""), UNPACED)] if unpaced else [])


def test_a_name_is_looked_up_in_both_families() -> None:
    from twisted.internet import reactor

    endpoint = make_client(reactor, "dest.example:1:timeout=7:bindAddress=192.0.2.9")
    assert isinstance(endpoint, HostnameEndpoint)
    assert (endpoint._hostText, endpoint._port, endpoint._timeout, endpoint._bindAddress) == ("dest.example", 1, 7, ("192.0.2.9", 0))


def test_a_port_alone_is_of_both_families() -> None:
    for text in ("10810:backlog=7", "tcp:10810:backlog=7"):
        assert listener(text) == BothFamilies(ANY, 10810, 7)
    assert not isinstance(listener("0.0.0.0:10810"), BothFamilies)


def test_terms_are_those_of_the_settings() -> None:
    terms = make_runtime(Reactor(), TunnelSettings(window=2**20, link_timeout=3, resume_window=4)).terms
    assert (terms.window, terms.link_timeout, terms.resume_window) == (2**20, 3, 4)


def test_certificates_are_read_before_anything_is_dialled(tmp_path: Path) -> None:
    settings = SourceSettings(tunnel=TunnelSettings(tls_dir=str(tmp_path / "none")), connect="tcp:there:1", forwards=())
    with pytest.raises(ConfigError, match="none: No such file or directory"):
        make_source(Reactor(), settings)
