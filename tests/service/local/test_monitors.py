"""The identity of a VM, and what a second nbdtun sees of the first."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXServerEndpoint

from nbdtun.errors import MonitorError, NotMigratable
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.rollback.presence import Presence
from nbdtun.service.local import monitors as module
from nbdtun.service.local.monitors import Hold, identity
from tests.migration.stage.qmp_server import Serving


def bound(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{path}")
    return f"{path}"


def test_a_socket_is_the_same_by_every_way(tmp_path: Path) -> None:
    one, other = bound(tmp_path / "1.qmp"), bound(tmp_path / "2.qmp")
    (tmp_path / "link").symlink_to(one)
    os.link(one, tmp_path / "hard")
    assert identity(one) == identity(f"{tmp_path}/link") == identity(f"{tmp_path}/hard") == identity(f"{tmp_path}/./1.qmp")
    assert identity(one) != identity(other)
    assert len(identity(one)) == 64


def test_one_that_is_not_there_is_known_by_its_path(tmp_path: Path) -> None:
    assert identity(f"{tmp_path}/gone") == identity(f"{tmp_path}/./gone") != identity(f"{tmp_path}/gone2")


@pytest_twisted.ensureDeferred
async def test_a_second_one_does_not_wait_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GREETING_SECONDS", 0.1)
    qmp = f"{tmp_path}/web1.qmp"
    silent = Serving(lambda server, message: None, greet=False)  # as QEMU is to a second client
    port = await UNIXServerEndpoint(reactor, qmp).listen(silent)
    first = Hold(reactor, qmp)
    waiting = Deferred.fromCoroutine(first.connect(Monitor(reactor, qmp, "web1")))
    (tmp_path / "link").symlink_to(qmp)
    for second in (Hold(reactor, f"{tmp_path}/link").connect, Hold(reactor, qmp).look):
        with pytest.raises(NotMigratable, match=r"db1: another nbdtun is migrating the VM behind .*; `nbdtun status` shows it"):
            await second(Monitor(reactor, qmp, "db1"))
    waiting.cancel()
    waiting.addErrback(lambda _: None)
    first.release()
    first.release()
    held = Presence(f"nbdtun-monitor-{identity(qmp)[:32]}")
    assert held.acquire()
    held.release()
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_name_that_somebody_else_holds_prevents_nothing(tmp_path: Path) -> None:
    """Any user could hold it. So QEMU decides."""
    qmp = f"{tmp_path}/web1.qmp"

    def answer(server: Any, message: Any) -> None:
        server.send({"return": {}, "id": message.get("id")})

    port = await UNIXServerEndpoint(reactor, qmp).listen(Serving(answer))
    held = Presence(f"nbdtun-monitor-{identity(qmp)[:32]}")
    assert held.acquire()
    hold, monitor = Hold(reactor, qmp), Monitor(reactor, qmp, "web1")
    await hold.connect(monitor)
    await monitor.close()
    held.release()
    hold.release()
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_no_qemu_is_told_as_ever(tmp_path: Path) -> None:
    hold = Hold(reactor, f"{tmp_path}/gone.qmp")
    with pytest.raises(MonitorError, match="No such file"):
        await hold.connect(Monitor(reactor, f"{tmp_path}/gone.qmp", "web1"))
    hold.release()
    assert repr(hold) == f"<Hold on {tmp_path}/gone.qmp>"
