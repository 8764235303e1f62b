"""From a code to settings for links; whole migrations are in tests/integration/test_code.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from attrs import evolve
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint

from nbdtun.errors import ReachError
from nbdtun.reach.codes.offer import Offer
from nbdtun.service.tunnel.introduced import introduced
from nbdtun.tls.throwaway import Identity
from tests.service.stage import migration_settings

reactor: Any = _reactor
CODE = "7-crossover-clockwork"


@pytest_twisted.ensureDeferred
async def test_the_settings_have_the_destinations_certificate(tmp_path: Path) -> None:
    there = Identity.make()
    ports: list[Any] = []
    endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    waiting = Deferred.fromCoroutine(Offer(reactor, there, CODE).wait(endpoint, 10, ports.append))
    settings = evolve(migration_settings(tmp_path), connect=f"tcp:127.0.0.1:{ports[0].getHost().port}", code=CODE)
    introducing = Deferred.fromCoroutine(introduced(reactor, settings))
    (await waiting).confirm()
    found = await introducing
    assert found.code is None
    assert found.peer_name == there.name
    assert found.tunnel.encrypted
    with pytest.raises(ReachError, match="is `nbdtun receive` running there"):
        await introduced(reactor, settings)
