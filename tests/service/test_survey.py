"""What `nbdtun status` says of a daemon: what it serves, what arrives, and from whom."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXServerEndpoint

from nbdtun.config import VM
from nbdtun.libvirt.values import Image, Wanted
from nbdtun.migration.destination.life import State
from nbdtun.migration.destination.sessions import Sessions
from nbdtun.service import survey as module
from nbdtun.service.survey import DOES, arrivals_of, certificates_of, vms_of
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.entries import Traffic
from tests.migration.stage.qmp_server import Serving
from tests.service.stage import Way

LINKED: dict[str, object] = {"channels": 1, "links": 1, "link_lost_for": None, "links_lost": 0, "down": 0.0, "workers": []}


@pytest_twisted.ensureDeferred
async def test_both_ends_of_a_channel(base: Path) -> None:
    way = Way(base)
    source, destination, port = way.source(), way.destination(), await way.serve()
    destination.startService()
    source.startService()
    program = await way.enter()
    assert await program.ask(b"ping") == b"ping"
    there, here = await destination.survey(), await source.survey()
    assert there == {
        "listen": f"unix:{way.tunnel}",
        "state": "serving",
        "waits_for": [],
        "certificate_expires": None,
        "certificates": {},
        **LINKED,
        "sources": [{"source": "local", "channels": 1}],
        "targets": [{"name": "nbd", "channels": 1}],
        "vms": [{"name": "web1", "qmp": f"{base}/web1.qmp", "qemu": None}],
        "libvirt": None,
        "sessions": [],
    }
    assert here == {
        "connect": f"unix:{way.tunnel}",
        "state": "serving",
        "waits_for": [],
        "certificate_expires": None,
        "certificates": {},
        **LINKED,
        "forwards": [{"target": "nbd", "listen": f"unix:{way.entrance}", "channels": 1}],
    }
    draining = destination.drain()
    (channel,) = destination.tunnel.channels
    there = await destination.survey()
    assert (there["state"], there["waits_for"]) == ("draining", [f"channel {channel.name}"])
    draining.addErrback(lambda _: None).cancel()
    await source.stopService()
    await destination.stopService()
    await port.stopListening()  # type: ignore[misc]


def egress(*_: Any) -> Any:
    raise AssertionError


@pytest_twisted.ensureDeferred
async def test_a_qemu_that_another_client_holds_is_not_waited_for(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ASK_SECONDS", 0.1)
    base.mkdir()
    silent = Serving(lambda server, message: None, greet=False)
    port = await UNIXServerEndpoint(reactor, f"{base}/web1.qmp").listen(silent)
    sessions = Sessions(reactor, {"web1": f"{base}/web1.qmp"}, egress)
    assert await vms_of(sessions, [VM("web1", f"{base}/web1.qmp")]) == [{"name": "web1", "qmp": f"{base}/web1.qmp", "qemu": None}]

    async def elsewhere(vm: str) -> bool:
        return vm == "web1"

    assert [each["qemu"] for each in await vms_of(sessions, [VM("web1", f"{base}/web1.qmp")], elsewhere)] == ["receiving"]
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_not_all_are_asked_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    asked: list[str] = []
    answers: list[Deferred[str]] = []

    async def machine(vm: str) -> str:
        asked.append(vm)
        answers.append(Deferred())
        return await answers[-1]

    vms = [VM(f"web{number}", f"/run/{number}.qmp") for number in range(3)]
    sessions = Sessions(reactor, {vm.name: vm.qmp for vm in vms}, egress)
    monkeypatch.setattr(sessions, "machine", machine)
    asking = Deferred.fromCoroutine(vms_of(sessions, vms))
    assert asked == ["web0", "web1"]
    for answer in tuple(answers):
        answer.callback("inmigrate")
    assert asked == ["web0", "web1", "web2"]
    answers[-1].callback("running")
    assert [vm["qemu"] for vm in await asking] == ["inmigrate", "inmigrate", "running"]


def test_every_state_of_a_session_under_way_has_words() -> None:
    assert {state for state in State if not state.over} | {State.FINISHED} == DOES.keys()


def test_when_certificates_expire(tmp_path: Path) -> None:
    from nbdtun.tls.issue import make
    from nbdtun.tls.store import Store

    issued = make(tmp_path, ["localhost"], force=False)
    found = certificates_of(Store.of(f"{tmp_path}"), "server-cert.pem")
    assert found["certificate_expires"] == found["certificates"]["server-cert.pem"] == pytest.approx(issued.expires.timestamp(), abs=5)
    assert found["certificates"].keys() == {"server-cert.pem", "ca-cert.pem"}
    assert certificates_of(None, "server-cert.pem") == {"certificate_expires": None, "certificates": {}}


def test_a_vm_of_libvirts_arrives_as_any_other() -> None:
    class Arrives:
        session = "0f" * 16
        wanted = Wanted("web1", "u", "<domain/>", (Image("vda", "/a.raw", "raw", 1 << 30),))

    arrivals: Any = SimpleNamespace(under_way=[Arrives()])
    caller = Caller("192.0.2.7:51000", "192.0.2.7", name="cn:client")
    received = {"disks": Traffic(5000, None), "memory": Traffic(100, None), "libvirt": Traffic(7, caller)}
    tunnel: Any = SimpleNamespace(traffic=lambda target: received[target.partition(".")[0]])
    (row,) = arrivals_of(arrivals, tunnel)
    assert row == {
        "vm": "web1",
        "session": "0f0f0f0f",
        "phase": "libvirt migrates it",
        "source": "192.0.2.7:51000",
        "certificate": "cn:client",
        "disks": {"received": 5000, "total": 1 << 30},
        "memory": {"received": 100},
    }
    received["libvirt"] = Traffic(0, None)
    assert arrivals_of(arrivals, tunnel)[0]["phase"] == "preparing"
    assert arrivals_of(None, tunnel) == []
