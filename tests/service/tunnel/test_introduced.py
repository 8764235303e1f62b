"""The source's end of a code; with a receiver at the other end, it is in tests/service/test_offered.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint

from nbdtun.errors import LinkLost, ReachError
from nbdtun.reach.codes import offer
from nbdtun.reach.codes.offer import Offer
from nbdtun.service.tunnel.introduced import Introduced
from nbdtun.service.tunnel.reached import Step
from nbdtun.tls.throwaway import Identity
from tests.service.stage import migration_settings

reactor: Any = _reactor
CODE = "7-crossover-clockwork"


def introduced(base: Path, port: int, said: list[str]) -> Introduced:
    settings = migration_settings(base, handshake_timeout=0.3)
    return Introduced(reactor, evolve(settings, connect=f"tcp:127.0.0.1:{port}", code=CODE), "web1", said.append)


@pytest_twisted.ensureDeferred
async def test_a_destination_that_takes_the_code_and_no_links(tmp_path: Path) -> None:
    """It was killed at that moment."""
    ports: list[Any] = []
    endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    waiting = Deferred.fromCoroutine(Offer(reactor, Identity.make(), CODE).wait(endpoint, 10, ports.append))
    said: list[str] = []
    source = introduced(tmp_path, ports[0].getHost().port, said)
    opening = Deferred.fromCoroutine(source.open())
    (await waiting).confirm(waits=True)
    with pytest.raises(LinkLost):
        await opening
    await source.acknowledge()
    await source.close()
    assert [isinstance(line, Step) for line in said] == [True]
    with pytest.raises(LinkLost):
        await source.far.keep()


@pytest_twisted.ensureDeferred
async def test_nobody_offers_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offer, "AGAIN_SECONDS", 0.1)
    source = introduced(tmp_path, 9, [])
    with pytest.raises(ReachError, match="is `nbdtun receive` running there"):
        await source.open()
    await source.close()
