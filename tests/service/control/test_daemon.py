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
from nbdtun.config import VM, SourceSettings, TunnelSettings, VMPattern
from nbdtun.errors import ConfigError, MigrationError, NbdtunError
from nbdtun.service.control.changes import Changes, Kept
from nbdtun.service.control.client import ask, reports
from nbdtun.service.control.commands import NO_LIMIT, Cancel, ChangedVMs, Reload, Replace, Serve, Set
from nbdtun.service.control.daemon import DaemonControl, Subject
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


class File:
    """A configuration file, in which a VM has changed."""

    possible = True
    error: NbdtunError | None = None
    taken = ("vm",)

    async def __call__(self) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return {"file": "/d.toml", "taken": [*self.taken], "left": []}


class Processes:
    """The other processes of the daemon, which miss things."""

    def __init__(self, *missed: str) -> None:
        self.subject: Subject | None = None
        self.replaced_by: int | None = None
        self.told: list[Changes] = []
        self._missed = missed

    async def replace(self, seconds: float | None) -> dict[str, Any]:
        return {"successor": 4822 if seconds is None else seconds}

    async def tell(self, changes: Changes) -> list[str]:
        self.told.append(changes)
        return [*self._missed]


class Table:
    """The VMs that are served."""

    def __init__(self) -> None:
        self.names = ["web1"]

    def serve(self, add: Iterable[VM | VMPattern], remove: Iterable[str]) -> list[str]:
        for name in remove:
            if name not in self.names:
                raise ConfigError(f"no VM {name} is served")
            self.names.remove(name)
        self.names += [one.name for one in add if isinstance(one, VM)]
        return self.names


@pytest_twisted.ensureDeferred
async def test_what_it_is_told_all_its_processes_are_told(base: Path) -> None:
    processes = Processes("process 7, which was replaced, has not taken it: it cannot")
    control = DaemonControl(reactor, str(base), "nbdtun-dest", Throttle(reactor), serve=Table().serve, reload=File(), processes=processes)
    control.startService()
    whom = f"@{os.getpid()}"
    vms = ChangedVMs(("web2=/b",), ("web1",))
    for told in (
        await ask(reactor, base, whom, Set, bandwidth=5000),
        await ask(reactor, base, whom, Serve, vms={"add": [*vms.add], "remove": [*vms.remove]}),
        await ask(reactor, base, whom, Reload),
    ):
        assert told["missed"] == ["process 7, which was replaced, has not taken it: it cannot"]
    assert processes.told == [Changes({"bandwidth": 5000}), Changes(vms=vms), Changes(file=True)]
    assert control.kept == Kept(NO_LIMIT, {"bandwidth": 5000}, {"web2": "web2=/b", "web1": ""})
    processes.replaced_by = 8
    for command, arguments in ((Set, {"bandwidth": 1}), (Serve, {"vms": {"add": [], "remove": []}}), (Reload, {})):
        with pytest.raises(MigrationError, match="nbdtun-dest: this program was replaced; ask @8"):
            await ask(reactor, base, whom, command, **arguments)
    assert len(processes.told) == 3
    await control.stopService()


@pytest_twisted.ensureDeferred
async def test_it_obeys_the_process_after_it() -> None:
    """As far as it can, or says why it cannot."""
    throttle, processes, file, table = Throttle(reactor, 1000), Processes(), File(), Table()
    control = DaemonControl(reactor, None, "nbdtun-dest", throttle, serve=table.serve, reload=file, processes=processes)
    subject: Subject | None = processes.subject
    assert subject is control
    assert await control.obey(Changes({"bandwidth": 5000}, ChangedVMs(("web2=/b",), ("web1", "web9")), True)) == []
    assert (throttle.rate, table.names) == (5000, ["web2"])
    file.error = ConfigError("/d.toml: there is no option x")
    mine = f"process {os.getpid()}, which was replaced, has not taken it: /d.toml: there is no option x [config]"
    assert await control.obey(Changes(file=True)) == [mine]
    file.possible = False
    assert await control.obey(Changes(file=True)) == []
    assert processes.told == []


@pytest_twisted.ensureDeferred
async def test_it_goes_on_with_what_was_set_before_it() -> None:
    """The bandwidth only where the options have the same one still."""
    throttle, table, file = Throttle(reactor, 1000), Table(), File()
    control = DaemonControl(reactor, None, "nbdtun-dest", throttle, serve=table.serve, reload=file, processes=Processes())
    control.go_on(Kept(2000, {"bandwidth": 5000}, {"web2": "web2=/b", "web1": "", "gone": ""}))
    assert (throttle.rate, table.names) == (1000, ["web2"])
    control.go_on(Kept(1000, {"bandwidth": 5000}))
    assert throttle.rate == 5000
    assert control.kept == Kept(1000, {"bandwidth": 5000}, {"web2": "web2=/b", "web1": "", "gone": ""})
    throttle.rate, file.taken = 3000, ("bandwidth",)
    await control.reload()
    assert control.kept.configured == 3000
    assert control.kept.limits == {}


@pytest_twisted.ensureDeferred
async def test_its_vms_and_its_file(base: Path) -> None:
    served: list[tuple[list[object], list[str]]] = []

    def serve(add: Iterable[object], remove: Iterable[str]) -> list[str]:
        served.append(([*add], [*remove]))
        return ["web1"]

    processes = Processes()
    control = DaemonControl(reactor, str(base), "nbdtun-dest", Throttle(reactor), serve=serve, reload=File(), processes=processes)
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
