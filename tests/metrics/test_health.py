"""Whether a daemon would serve now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from nbdtun.metrics.health import expired, unready
from nbdtun.tls.issue import make
from nbdtun.tls.store import Store
from tests.service.stage import Way


@pytest_twisted.ensureDeferred
async def test_one_that_serves_and_one_that_shuts_down(base: Path) -> None:
    way = Way(base)
    source, destination, port = way.source(), way.destination(), await way.serve()
    destination.startService()
    source.startService()
    program = await way.enter()
    assert await program.ask(b"ping") == b"ping"
    assert unready(source) == unready(destination) == ""
    (channel,) = destination.tunnel.channels
    draining = destination.drain()
    assert unready(destination) == f"shutting down, waits for channel {channel.name}"
    draining.addErrback(lambda _: None).cancel()
    await source.stopService()
    await destination.stopService()
    await port.stopListening()  # type: ignore[misc]


@pytest_twisted.ensureDeferred
async def test_a_source_without_a_link(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    way = Way(base)
    source: Any = way.source()
    destination: Any = way.destination()
    for service in (source, destination):
        monkeypatch.setattr(type(service.tunnel), "lost_for", 12.0)
    assert unready(source) == "no link for 12 s"
    assert unready(destination) == ""  # others may have theirs


def test_a_certificate_that_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    issued = make(tmp_path, ["localhost"], force=False)
    assert expired(Store.of(f"{tmp_path}"), "server-cert.pem") == expired(None, "server-cert.pem") == ""
    monkeypatch.setattr("time.time", lambda: issued.expires.timestamp() + 5)
    assert expired(Store.of(f"{tmp_path}"), "server-cert.pem").startswith("server-cert.pem has expired on 20")
