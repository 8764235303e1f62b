"""The control socket of a daemon: its rate, and nothing else, can be changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from nbdtun import __version__
from nbdtun.config import VM, SourceSettings, TunnelSettings
from nbdtun.errors import MigrationError, NbdtunError
from nbdtun.service.control.client import ask, reports
from nbdtun.service.control.commands import NO_LIMIT, Cancel, Reload, Replace, Serve, Set
from nbdtun.service.control.daemon import DaemonControl
from nbdtun.service.source import SourceService
from nbdtun.tunnel.runtime.throttle import Throttle


@pytest_twisted.ensureDeferred
async def test_its_rate_is_told_and_changed(base: Path) -> None:
    throttle = Throttle(reactor, 1000)
    control = DaemonControl(reactor, str(base), "nbdtun-dest", throttle)
    control.startService()
    pid = os.getpid()
    (report,) = await reports(reactor, base)
    assert 0.0 <= report.pop("uptime") < 60.0
    assert report == {"kind": "daemon", "name": "nbdtun-dest", "pid": pid, "release": __version__, "bandwidth": 1000}
    assert (await ask(reactor, base, f"@{pid}", Set, bandwidth=5000))["bandwidth"] == throttle.rate == 5000
    assert (await ask(reactor, base, f"@{pid}", Set, bandwidth=NO_LIMIT))["bandwidth"] is throttle.rate is None
    await control.stopService()
    assert list(base.rglob("*")) == []


@pytest_twisted.ensureDeferred
async def test_what_its_service_tells_is_reported_too(base: Path) -> None:
    async def survey() -> dict[str, Any]:
        return {"listen": "tcp:10810"}

    control = DaemonControl(reactor, str(base), "nbdtun-dest", Throttle(reactor), survey)
    control.startService()
    (report,) = await reports(reactor, base)
    assert (report["name"], report["listen"]) == ("nbdtun-dest", "tcp:10810")
    await control.stopService()


@pytest_twisted.ensureDeferred
async def test_it_has_no_guest_and_no_end(base: Path) -> None:
    throttle = Throttle(reactor, 1000)
    control = DaemonControl(reactor, str(base), "nbdtun-dest", throttle)
    control.startService()
    with pytest.raises(MigrationError, match="nbdtun-dest: --downtime applies to a migration, not to a daemon"):
        await ask(reactor, base, f"@{os.getpid()}", Set, bandwidth=1, downtime=300)
    with pytest.raises(MigrationError, match="nbdtun-dest: --switchover applies to a migration, not to a daemon"):
        await ask(reactor, base, f"@{os.getpid()}", Set, switchover=0)
    with pytest.raises(MigrationError, match="nbdtun-dest: a daemon cannot be cancelled; stop it with SIGTERM"):
        await ask(reactor, base, f"@{os.getpid()}", Cancel)
    assert throttle.rate == 1000
    await control.stopService()


@pytest_twisted.ensureDeferred
async def test_its_vms_and_its_file(base: Path) -> None:
    served: list[tuple[list[object], list[str]]] = []

    def serve(add: Iterable[object], remove: Iterable[str]) -> list[str]:
        served.append(([*add], [*remove]))
        return ["web1"]

    async def reload() -> dict[str, Any]:
        return {"file": "/d.toml", "taken": ["vm"], "left": []}

    async def replace(seconds: float | None) -> dict[str, Any]:
        return {"successor": 4822 if seconds is None else seconds}

    control = DaemonControl(reactor, str(base), "nbdtun-dest", Throttle(reactor), serve=serve, reload=reload, replace=replace)
    control.startService()
    whom = f"@{os.getpid()}"
    told = await ask(reactor, base, whom, Serve, vms={"add": ["web1=/q"], "remove": ["db*"]})
    assert (told["name"], told["serves"], served) == ("nbdtun-dest", ["web1"], [([VM("web1", "/q")], ["db*"])])
    assert (await ask(reactor, base, whom, Reload))["taken"] == ["vm"]
    assert (await ask(reactor, base, whom, Replace))["successor"] == 4822
    assert (await ask(reactor, base, whom, Replace, keep=60))["successor"] == 60
    with pytest.raises(MigrationError, match="'web1' does not have the form NAME=PATH"):
        await ask(reactor, base, whom, Serve, vms={"add": ["web1"], "remove": []})
    with pytest.raises(NbdtunError, match="changedvms does not have the fields add, remove"):
        await ask(reactor, base, whom, Serve, vms={"add": []})
    await control.stopService()


@pytest_twisted.ensureDeferred
async def test_one_that_has_neither(base: Path) -> None:
    control = DaemonControl(reactor, str(base), "nbdtun-source", Throttle(reactor))
    control.startService()
    for command, vms, line in ((Serve, {"vms": {"add": [], "remove": []}}, "receives no VMs"), (Reload, {}, "has no configuration file")):
        with pytest.raises(MigrationError, match=f"nbdtun-source: it {line}"):
            await ask(reactor, base, f"@{os.getpid()}", command, **vms)
    with pytest.raises(MigrationError, match="its program cannot be replaced while it runs; restart it; those of `nbdtun dest`"):
        await ask(reactor, base, f"@{os.getpid()}", Replace)
    await control.stopService()


@pytest_twisted.ensureDeferred
async def test_where_it_can_have_no_socket_the_daemon_works_without(base: Path, said: list[str]) -> None:
    base.write_text("not a directory")
    control = DaemonControl(reactor, str(base), "nbdtun-dest", Throttle(reactor))
    control.startService()
    assert len(said) == 1
    assert said[0].startswith(f"`nbdtun status` and `set` cannot reach this daemon: run directory {base}/control: ")
    await control.stopService()


def test_it_is_made_of_a_service() -> None:
    settings = SourceSettings(tunnel=TunnelSettings(bandwidth=1000, run_dir="/run/x"), connect="unix:/a", forwards=())
    service = SourceService(reactor, settings)
    control = DaemonControl.of(service, "nbdtun-source")
    assert (control.report()["name"], control.report()["bandwidth"]) == ("nbdtun-source", 1000)
    service.tunnel.runtime.throttle.rate = None
    assert control.report()["bandwidth"] is None
