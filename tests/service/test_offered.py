"""A destination that a code leads to, without a QEMU; with one, it is in tests/integration/test_code.py."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred

from lab.daemon import free_port
from nbdtun.config import DestinationSettings
from nbdtun.errors import ConfigError, ReachError, WrongCode
from nbdtun.service import offered as module
from nbdtun.service.destination import DestinationService
from nbdtun.service.offered import OfferSettings, receive_by_code
from nbdtun.service.tunnel.introduced import introduced
from nbdtun.tls.trust import Pinned
from tests.service.stage import migration_settings

reactor: Any = _reactor
OTHER = "7-crossover-clockwork"


class Stage:
    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 10, *, port: int | None = None) -> None:
        monkeypatch.setattr(module, "LOOK", 0.01)
        monkeypatch.setattr(module, "WINDOW", 0.05)
        self.said: list[str] = []
        monkeypatch.setattr(module, "is_served", lambda path: True)
        self.port = free_port() if port is None else port
        settings = OfferSettings("web1", f"tcp:{self.port}:interface=127.0.0.1", f"{base}/web1.qmp", f"{base}/run", seconds)
        self.receiving = receive_by_code(reactor, settings, self.said.append)
        self.base = base

    @property
    def code(self) -> str:
        return self.said[0].removeprefix("web1: the code is ").partition(",")[0]

    def come(self, code: str = "") -> Deferred[Any]:
        settings = evolve(migration_settings(self.base), connect=f"tcp:127.0.0.1:{self.port}", code=code or self.code)
        return Deferred.fromCoroutine(introduced(reactor, settings))


def test_where_its_qemu_waits() -> None:
    assert OfferSettings("web1", "10810").waiting.qmp == "/run/qemu/web1-incoming.qmp"


@pytest_twisted.ensureDeferred
async def test_a_source_that_comes_and_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    assert stage.said[0].endswith(", for one source, within 10 s")
    await stage.come()
    with pytest.raises(ReachError, match="web1: its source has not begun within 50 ms"):
        await stage.receiving
    assert stage.said[1:] == ["web1: the source has come with the code"]


@pytest_twisted.ensureDeferred
async def test_the_kernels_choice_of_a_port_is_told_and_is_the_links_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listened: list[str] = []

    class Listening(DestinationService):
        def __init__(self, reactor: Any, made: DestinationSettings) -> None:
            listened.append(made.listen)
            super().__init__(reactor, made)

    monkeypatch.setattr(module, "DestinationService", Listening)
    stage = Stage(tmp_path, monkeypatch, port=0)
    stage.port = int(stage.said[0].rpartition(", on port ")[2])
    await stage.come()
    assert listened == [f"tcp:{stage.port}:interface=127.0.0.1"]
    with pytest.raises(ReachError, match="has not begun"):
        await stage.receiving


def test_no_qemu_waits_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    monkeypatch.setattr(module, "is_served", lambda path: False)
    said: list[str] = []
    receiving = receive_by_code(reactor, OfferSettings("web1", "tcp:0", f"{tmp_path}/q"), said.append)
    for each in (receiving, stage.receiving):
        each.addErrback(lambda _: None)
        each.cancel()
    assert said[0] == f"web1: no QEMU waits at {tmp_path}/q yet; start it with -S -incoming defer: only --to ssh://HOST makes one"


@pytest_twisted.ensureDeferred
async def test_a_wrong_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    with pytest.raises(WrongCode, match="the code is wrong"):
        await stage.come(OTHER)
    with pytest.raises(WrongCode, match="a source came with a wrong code"):
        await stage.receiving


@pytest_twisted.ensureDeferred
async def test_it_can_be_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(tmp_path, monkeypatch)
    stage.receiving.cancel()
    with pytest.raises(CancelledError):
        await stage.receiving
    later = Stage(tmp_path, monkeypatch)
    monkeypatch.setattr(module, "WINDOW", 60)
    await later.come()
    later.receiving.cancel()
    with pytest.raises(CancelledError):
        await later.receiving


def test_libvirt_takes_the_place_of_a_qemu_that_waits(tmp_path: Path) -> None:
    settings = OfferSettings("web1", "10810", libvirt="qemu:///system", admit=("/srv/vm",))
    made = settings.destination(Pinned(lambda: ssl.create_default_context()), "tcp:10810")
    assert (made.vms, made.libvirt, made.admit, made.allow) == ((), "qemu:///system", ("/srv/vm",), ("web1=source.nbdtun",))
    with pytest.raises(ConfigError, match="--incoming is for VMs without libvirt"):
        evolve(settings, qmp=f"{tmp_path}/web1.qmp")
    with pytest.raises(ConfigError, match="--admit is for --libvirt"):
        evolve(settings, libvirt="")
