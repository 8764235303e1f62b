"""Both plugins, as twistd sees them: their options, what becomes of them, and the line for each mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from twisted.application.service import IService, IServiceMaker, Service
from twisted.plugin import IPlugin
from twisted.python.usage import UsageError
from zope.interface.verify import verifyObject

from nbdtun.config import VM, DestinationSettings, Forward, MigrateSettings, Owner, SourceSettings, Target, TunnelSettings
from nbdtun.daemon import dest_tap, source_tap
from nbdtun.errors import ConfigError
from nbdtun.migration.settings import MigrationSettings
from nbdtun.tunnel.settings import Limits

ROOT = Path(__file__).parent.parent


def destination(*words: str) -> DestinationSettings:
    options = dest_tap.Options()
    options.parseOptions(words)
    return options.settings


def source(*words: str) -> source_tap.SourceTask:
    options = source_tap.Options()
    options.parseOptions(words)
    return options.settings


def test_a_destination() -> None:
    assert destination(
        *("--listen", "tcp:10810", "--tls-dir", "/pki", "--target", "nbd=unix:/run/nbd.sock", "--target", "ram=unix:/run/ram.sock"),
        *(
            "--vm",
            "web1=/run/web1.qmp",
            "--vm",
            "web2=/run/web2.qmp",
            "--window",
            "32MiB",
            "--link-timeout",
            "5s",
            "--resume-window",
            "1min",
        ),
        *("--run-dir", "/run/nbdtun", "--socket-owner", "0:0", "--insecure", "--handshake-timeout", "3s"),
        *("--allow", "src*", "--allow", "*.hosts.example", "--max-channels", "9", "--max-channels-per-peer", "8"),
        *("--max-handshakes", "7", "--max-handshakes-per-address", "6"),
    ) == DestinationSettings(
        tunnel=TunnelSettings(
            tls_dir="/pki",
            insecure=True,
            run_dir="/run/nbdtun",
            socket_owner=Owner(0, 0),
            window=32 * 2**20,
            link_timeout=5.0,
            resume_window=60.0,
            handshake_timeout=3.0,
        ),
        allow=("src*", "*.hosts.example"),
        limits=Limits(9, 8, 7, 6),
        listen="tcp:10810",
        targets=(Target("nbd", "unix:/run/nbd.sock"), Target("ram", "unix:/run/ram.sock")),
        vms=(VM("web1", "/run/web1.qmp"), VM("web2", "/run/web2.qmp")),
    )


def test_a_source_that_forwards() -> None:
    task = source(
        "--connect", "tcp:dest:10810", "--tls-dir", "/pki", "--tls-name", "d", "--forward", "a=unix:/a:mode=660", "--forward", "b=unix:/b"
    )
    assert task.migrate is None
    assert task.forward == SourceSettings(
        tunnel=TunnelSettings(tls_dir="/pki", tls_name="d"),
        connect="tcp:dest:10810",
        forwards=(Forward("a", "unix:/a:mode=660"), Forward("b", "unix:/b")),
    )


def test_a_source_that_migrates() -> None:
    words = ("--connect", "unix:/t", "--migrate", "web1", "--qmp", "/q")
    plain = source(*words)
    assert plain == source_tap.SourceTask(None, MigrateSettings(connect="unix:/t", qmp="/q", migration=MigrationSettings(vm="web1")))
    task = source(*words, "--disk", "d0", "--disk", "d1", "--bandwidth", "500MiB/s", "--downtime", "1s", "--keep-source")
    assert task.migrate is not None
    assert task.migrate.migration == MigrationSettings(vm="web1", disks=("d0", "d1"), bandwidth=500 * 2**20, downtime=1.0, keep_source=True)


def test_a_source_can_do_both() -> None:
    task = source("--connect", "unix:/t", "--migrate", "web1", "--qmp", "/q", "--forward", "a=unix:/a")
    assert task.forward is not None
    assert task.migrate is not None


@pytest.mark.parametrize(
    ("read", "words", "line"),
    [
        (destination, (), "--listen is missing"),
        (destination, ("--listen", "unix:/a"), "a destination needs at least one --target or --vm to serve"),
        (destination, ("--listen", "unix:/a", "--target", "nbd"), "--target: 'nbd' is not of the form NAME=CLIENT-ENDPOINT"),
        (destination, ("--listen", "unix:/a", "--vm", "a/b=/q"), "--vm: 'a/b' is not a name"),
        (destination, ("--listen", "unix:/a", "--vm", "a=/q", "--window", "much"), "--window: 'much' is not a size"),
        (destination, ("--listen", "unix:/a", "--vm", "a=/q", "--socket-owner", "nobody-here"), "--socket-owner: there is no user"),
        (destination, ("--listen", "unix:/a", "--vm", "a=/q", "--allow", "src*"), "--allow needs --tls-dir"),
        (destination, ("--listen", "unix:/a", "--vm", "a=/q", "--tls-dir", "/t", "--allow", ""), "--allow: an empty pattern"),
        (destination, ("--listen", "unix:/a", "--vm", "a=/q", "--max-channels", "0"), "--max-channels: '0' is not a number from 1"),
        (destination, ("--listen", "unix:/a", "--vm", "a=/q", "--handshake-timeout", "0s"), "handshake-timeout: 0 ms is not between"),
        (destination, ("--listen", "unix:/a", "surplus"), "Wrong number of arguments."),
        (destination, ("--nonsense",), "option --nonsense not recognized"),
        (source, (), "--connect is missing"),
        (source, ("--connect", "unix:/a"), "there is nothing to do: give --forward, or --migrate with --qmp"),
        (source, ("--connect", "unix:/a", "--migrate", "web1"), "--qmp is missing"),
        (source, ("--connect", "unix:/a", "--forward", "a=unix:/a", "--qmp", "/q"), "--qmp needs --migrate"),
        (source, ("--connect", "unix:/a", "--forward", "a=unix:/a", "--disk", "d"), "--disk needs --migrate"),
        (source, ("--connect", "unix:/a", "--forward", "a=unix:/a", "--keep-source"), "--keep-source needs --migrate"),
        (source, ("--connect", "unix:/a", "--forward", "unix:/a"), "--forward: 'unix:/a' is not of the form TARGET=SERVER-ENDPOINT"),
        (source, ("--connect", "dest:10810", "--forward", "a=unix:/a"), "'dest:10810' is not an endpoint"),
        (source, ("--connect", "unix:/a", "--migrate", "w", "--qmp", "/q", "--bandwidth", "-1"), "--bandwidth: '-1' is not a size"),
        (source, ("--connect", "unix:/a", "--migrate", "w", "--qmp", "/q", "--downtime", "soon"), "--downtime: 'soon' is not a duration"),
    ],
)
def test_a_mistake_is_one_line(read: Callable[..., Any], words: tuple[str, ...], line: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(*words)
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


class FakeServices(ModuleType):
    """Stands for ``nbdtun.service``: remembers what it was asked for."""

    def __init__(self) -> None:
        super().__init__("nbdtun.service")
        self.asked: list[tuple[str, Any]] = []
        self.error: ConfigError | None = None
        self.governed: list[str] = []
        for name in ("source_service", "destination_service", "migration_service"):
            setattr(self, name, self._maker(name))

    def governor_service(self, reactor: Any, run_dir: str | None, plugin: str, of: IService) -> IService:
        self.governed.append(plugin)
        return Service()

    def _maker(self, name: str) -> Callable[[Any, Any], IService]:
        def make(reactor: Any, settings: Any) -> IService:
            if self.error is not None:
                raise self.error
            self.asked.append((name, settings))
            return Service()

        return make


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> FakeServices:
    fake = FakeServices()
    monkeypatch.setitem(sys.modules, "nbdtun.service", fake)
    monkeypatch.setattr("nbdtun.service", fake, raising=False)
    for tap in (source_tap, dest_tap):
        monkeypatch.setattr(tap, "steady", lambda reactor: None)  # the tests' own keeps its clock
    return fake


def test_services_are_made_of_the_settings(services: FakeServices) -> None:
    options = source_tap.Options()
    options.parseOptions(["--connect", "unix:/t", "--migrate", "web1", "--qmp", "/q", "--forward", "a=unix:/a"])
    made = source_tap.makeService(options)
    assert services.asked == [("source_service", options.settings.forward), ("migration_service", options.settings.migrate)]
    assert len(list(made)) == 3  # type: ignore[call-overload]
    waiting = dest_tap.Options()
    waiting.parseOptions(["--listen", "unix:/a", "--vm", "a=/q"])
    dest_tap.makeService(waiting)
    assert services.asked[2:] == [("destination_service", waiting.settings)]
    assert services.governed == ["nbdtun-source", "nbdtun-dest"]


@pytest.mark.parametrize(
    ("tap", "words", "name"),
    [
        (source_tap, ["--connect", "unix:/t", "--forward", "a=unix:/a"], "nbdtun-source"),
        (dest_tap, ["--listen", "unix:/a", "--vm", "a=/q"], "nbdtun-dest"),
    ],
)
def test_settings_that_fail_later_end_in_one_line_too(tap: Any, words: list[str], name: str, services: FakeServices) -> None:
    services.error = ConfigError("/pki/server-key.pem: Permission denied")
    options = tap.Options()
    options.parseOptions(words)
    with pytest.raises(SystemExit) as caught:
        tap.makeService(options)
    assert caught.value.code == f"{name}: /pki/server-key.pem: Permission denied [config]"


def test_the_plugins_are_service_makers() -> None:
    names: dict[str, Any] = {}
    exec((ROOT / "twisted/plugins/nbdtun_plugins.py").read_text(), names)
    for attribute, tapname in (("source", "nbdtun-source"), ("destination", "nbdtun-dest")):
        plugin = names[attribute]
        assert verifyObject(IServiceMaker, plugin)
        assert IPlugin.providedBy(plugin)
        assert plugin.tapname == tapname
        assert 40 < len(plugin.description) < 100
        assert plugin.options().getUsage()


@pytest.mark.parametrize(
    ("plugin", "words"),
    [
        ("nbdtun-source", ["--connect", "unix:/t", "--window", "much"]),
        ("nbdtun-dest", ["--listen", "unix:/t", "--window", "much"]),
    ],
)
def test_twistd_finds_them_and_says_what_is_wrong(plugin: str, words: list[str], tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", plugin, *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    assert "Traceback" not in run.stdout + run.stderr
    assert "'much' is not a size" in run.stdout.rstrip().splitlines()[-1]


def test_importing_a_tap_installs_no_reactor() -> None:
    faces = "nbdtun.daemon.source_tap, nbdtun.daemon.dest_tap, nbdtun.cli, nbdtun.cli.attend"
    code = f"import sys, {faces}; print('twisted.internet.reactor' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert run.stdout == "False\n", run.stderr
