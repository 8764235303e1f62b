from __future__ import annotations

import pytest

from tests.cli.stage import Running, at_once


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Running:
    """Stands for all control sockets of this machine; the commands that ask them need no reactor."""
    fake = Running()
    monkeypatch.setattr("nbdtun.service.control.client.ask", fake.ask)
    monkeypatch.setattr("nbdtun.service.control.client.reports", fake.all)
    for command in ("cancel", "change", "daemons.reload", "status"):
        monkeypatch.setattr(f"nbdtun.cli.{command}.asked", at_once)
    return fake
