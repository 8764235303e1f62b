"""The metrics of services that run, over their socket; and sockets that cannot be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from nbdtun.config import TunnelSettings
from nbdtun.errors import ConfigError
from nbdtun.metrics.service import MetricsService, measured
from nbdtun.migration.progress import Progress
from nbdtun.service.migration import MigrationService
from tests.display.stage import END, MIRROR
from tests.metrics.stage import fetch, parsed
from tests.service.stage import Way, migration_settings


def with_metrics(way: Way, name: str) -> Path:
    """The socket of the end that is made next."""
    path = way.base / f"{name}.sock"
    way.settings = evolve(way.settings, metrics=f"unix:{path}")
    return path


@pytest_twisted.ensureDeferred
async def test_both_daemons(base: Path) -> None:
    way = Way(base)
    port = await way.serve()
    here = with_metrics(way, "here")
    source = way.source()
    there = with_metrics(way, "there")
    destination = way.destination()
    services = [destination, MetricsService.of_destination(reactor, destination), source, MetricsService.of_source(reactor, source)]
    for service in services:
        service.startService()
    program = await way.enter()
    assert await program.ask(b"ping") == b"ping"
    for path, direction in ((here, "sent"), (there, "received")):
        status, _, content = await fetch(path, "/metrics")
        found = parsed(content)
        assert (status, found["nbdtun_links"]) == (200, 1)
        assert found[f'nbdtun_channel_bytes_total{{direction="{direction}",target="nbd"}}'] == 4
        assert found["process_open_fds"] > 3
        assert (await fetch(path, "/readyz"))[2] == "ok\n"
    for service in services:
        await service.stopService()
    assert not here.exists()
    await port.stopListening()  # type: ignore[misc]


@pytest_twisted.ensureDeferred
async def test_a_migration_until_its_end(base: Path) -> None:
    settings = migration_settings(base, metrics=f"unix:{base}/m.sock")
    running: Deferred[Progress] = Deferred()
    reported: list[Progress] = []

    def start(report: Any, meet: Any) -> Deferred[Progress]:
        report(MIRROR)
        return running

    whole = measured(reactor, settings, start, reported.append)
    found = parsed((await fetch(base / "m.sock", "/metrics"))[2])
    assert found['nbdtun_migrations{phase="mirror"}'] == 1
    assert found['nbdtun_migration_info{vm="web1"}'] == 1
    assert reported == [MIRROR]
    running.callback(END)
    assert await whole is END
    assert not (base / "m.sock").exists()


@pytest_twisted.ensureDeferred
async def test_no_migration_begins_without_its_socket(base: Path) -> None:
    base.mkdir()
    (base / "m.sock").write_text("a file of somebody's")
    settings = migration_settings(base, metrics=f"unix:{base}/m.sock")
    begun: list[object] = []
    with pytest.raises(ConfigError, match=r"m\.sock"):
        await measured(reactor, settings, lambda *_, **__: succeed(begun.append(1)), lambda progress: None)  # type: ignore[func-returns-value]
    assert begun == []
    assert (base / "m.sock").read_text() == "a file of somebody's"


@pytest_twisted.ensureDeferred
async def test_a_cancel_reaches_the_migration(base: Path) -> None:
    settings = migration_settings(base, metrics=f"unix:{base}/m.sock")
    cancelled: list[object] = []
    whole = measured(reactor, settings, lambda report, meet: Deferred(lambda _: cancelled.append(1)), lambda progress: None)
    whole.addErrback(lambda _: None).cancel()
    assert cancelled == [1]
    await whole
    assert not (base / "m.sock").exists()


def test_a_daemon_that_only_migrates(base: Path) -> None:
    moving = MigrationService(reactor, migration_settings(base, metrics=f"unix:{base}/m.sock"))
    MetricsService.of_source(reactor, moving)
    (audience,) = moving.watchers
    audience.report(MIRROR)


@pytest.mark.parametrize("endpoint", ["9810", "tcp:9810", "192.0.2.7:9810"])
def test_they_are_for_this_host_alone(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=f"^--metrics {endpoint}: all who reach it can read them; use 127.0.0.1:9810 or unix:PATH"):
        TunnelSettings(metrics=endpoint)
    assert TunnelSettings(metrics=endpoint, insecure=True).metrics == endpoint


@pytest.mark.parametrize("endpoint", ["127.0.0.1:9810", "unix:/run/m.sock", "/run/m.sock", "tcp:9810:interface=127.0.0.1", ""])
def test_where_this_host_finds_them(endpoint: str) -> None:
    assert TunnelSettings(metrics=endpoint).metrics == endpoint


OFF = """
import sys
from importlib import import_module
from twisted.internet import reactor
dest, source = ["--listen", "127.0.0.1:1", "--target", "a=/a"], ["--connect", "127.0.0.1:1", "--forward", "a=/b"]
for tap, words in (("dest", dest), ("source", source)):
    module = import_module(f"nbdtun.daemon.{tap}_tap")
    options = module.Options()
    options.parseOptions([*words, "--run-dir", "/nowhere", *sys.argv[1:]])
    module.makeService(options)
print([name for name in ("nbdtun.metrics", "prometheus_client", "twisted.web") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("words", "loaded"), [((), []), (("--metrics", "/run/m.sock"), ["nbdtun.metrics", "prometheus_client", "twisted.web"])]
)
def test_without_the_option_nothing_of_it_is_loaded(words: tuple[str, ...], loaded: list[str]) -> None:
    """So it costs nothing; the byte path knows nothing of metrics in either case."""
    done = subprocess.run([sys.executable, "-c", OFF, *words], capture_output=True, text=True, check=True)
    assert done.stdout == f"{loaded}\n"
