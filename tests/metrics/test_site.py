"""The pages, over a socket, to those who ask well and to others."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from nbdtun.metrics import site as module
from nbdtun.metrics.families import Asked, gauge
from nbdtun.metrics.site import Page, make_site
from tests.metrics.stage import fetch, parsed


class Pages:
    """What is served, and how ready it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.why = ""
        self.value: Any = 7


@pytest_twisted.async_yield_fixture
async def pages(base: Path) -> AsyncIterator[Pages]:
    base.mkdir()
    served = Pages(base / "m.sock")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Asked(lambda: [gauge("links", "Links.", served.value)]))
    port = await UNIXServerEndpoint(reactor, f"{served.path}").listen(make_site(reactor, registry, lambda: served.why))
    yield served
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_the_pages(pages: Pages) -> None:
    status, kind, content = await fetch(pages.path, "/metrics")
    assert (status, parsed(content)) == (200, {"nbdtun_links": 7})
    assert kind.startswith("text/plain; version=")
    assert await fetch(pages.path, "/healthz") == (200, "text/plain; charset=utf-8", "ok\n")
    assert await fetch(pages.path, "/readyz") == (200, "text/plain; charset=utf-8", "ok\n")
    assert (await fetch(pages.path, "/"))[2] == "nbdtun: /metrics, /healthz, /readyz\n"
    assert (await fetch(pages.path, "/etc/passwd"))[0] == 404
    pages.why = "shutting down, waits for the memory of web1"
    assert await fetch(pages.path, "/readyz") == (503, "text/plain; charset=utf-8", f"{pages.why}\n")
    assert (await fetch(pages.path, "/healthz"))[0] == 200  # a restart would not help


@pytest_twisted.ensureDeferred
async def test_openmetrics_where_it_is_asked_for(pages: Pages) -> None:
    _, kind, content = await fetch(pages.path, "/metrics", "-H", "Accept: application/openmetrics-text; version=1.0.0")
    assert kind.startswith("application/openmetrics-text")
    assert content.endswith("# EOF\n")


@pytest_twisted.ensureDeferred
async def test_a_question_has_no_body_and_changes_nothing(pages: Pages, said: list[str]) -> None:
    assert (await fetch(pages.path, "/metrics", "--head"))[0] == 200
    assert (await fetch(pages.path, "/metrics", "-X", "DELETE"))[0] == 405
    with pytest.raises(ValueError, match="invalid literal"):  # no answer at all
        await fetch(pages.path, "/metrics", "-d", "x" * 1000, "-w", "\ngone")
    assert said == []


@pytest_twisted.ensureDeferred
async def test_what_fails_is_told_in_the_log_and_not_to_all(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[str] = []
    monkeypatch.setattr(Page, "log", SimpleNamespace(failure=logged.append))
    pages.value = "no number"
    assert await fetch(pages.path, "/metrics") == (500, "text/plain; charset=utf-8", "see the log of nbdtun\n")
    assert logged == ["the metrics cannot be told"]


@pytest_twisted.ensureDeferred
async def test_connections_are_limited(pages: Pages, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)

    def connected() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5)
        sock.connect(f"{pages.path}")
        return sock

    first = await deferToThread(connected)
    await deferLater(reactor, 0.05)
    second = await deferToThread(connected)
    assert await deferToThread(second.recv, 1) == b""  # closed at once
    first.close()
    await deferLater(reactor, 0.05)
    assert (await fetch(pages.path, "/healthz"))[0] == 200
    second.close()
