"""Which far end settings lead to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from twisted.internet import reactor as _reactor

from nbdtun.service.tunnel.far import far_of
from tests.service.stage import migration_settings

reactor: Any = _reactor


def test_ssh_a_code_or_a_daemon(tmp_path: Path) -> None:
    daemon = migration_settings(tmp_path)
    code = evolve(daemon, connect="dest:10810", code="7-crossover-clockwork")
    told = [repr(far_of(reactor, settings, "web1", lambda line: None)) for settings in (daemon, evolve(daemon, connect="ssh://dest"), code)]
    assert told == ["None", "<Reached ssh://dest>", "<Introduced to dest:10810>"]
