"""Where a destination listens: at its own endpoint, and at those of others as long as they are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.application.service import MultiService
from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater

from nbdtun.config import TunnelSettings
from nbdtun.config.endpoints import Role, parse
from nbdtun.errors import ConfigError
from nbdtun.service.local.listening import ListeningService, LocalEndpoint
from nbdtun.service.succession.ports import Ports
from nbdtun.service.tunnel.build import make_listener


@pytest_twisted.ensureDeferred
async def test_another_one_is_kept_until_it_is_released(tmp_path: Path) -> None:
    def make(text: str) -> LocalEndpoint:
        return make_listener(reactor, parse(text, Role.LISTEN), TunnelSettings(run_dir="/run/x"))

    parent = MultiService()
    factory: Factory[Any] = Factory()
    own = ListeningService(make(f"unix:{tmp_path}/own"), factory)
    own.setServiceParent(parent)
    ports = Ports(parent, own, make, encrypted=True)
    parent.startService()
    ports.keep(f"unix:{tmp_path}/other")
    assert ports.labels == [f"unix:{tmp_path}/own", f"unix:{tmp_path}/other"]
    assert (tmp_path / "other").is_socket()
    assert ports.listening[1].factory is factory
    with pytest.raises(ConfigError, match="no/where: "):
        ports.keep(f"unix:{tmp_path}/no/where")
    ports.release()
    ports.release()
    assert ports.listening == [own]
    while (tmp_path / "other").exists():
        await deferLater(reactor, 0.01)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own"]
    await maybeDeferred(parent.stopService)
