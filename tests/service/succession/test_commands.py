"""What one process tells another of a caller, and that it stays the same caller."""

from __future__ import annotations

import json

import pytest

from nbdtun.service.succession.commands import Who
from nbdtun.tunnel.destination.admission import Caller
from nbdtun.tunnel.destination.allowlist import Rights
from nbdtun.typed import as_json, of_json


@pytest.mark.parametrize(
    "caller",
    [
        Caller("192.0.2.1:7", "192.0.2.1"),
        Caller("[::1]:7", "::/64", "dns:a", "a", frozenset({"dns:a", "uri:b"}), Rights(False, frozenset({"web1", "disk"}))),
    ],
)
def test_a_caller_stays_the_same(caller: Caller) -> None:
    assert of_json(Who, json.loads(json.dumps(as_json(Who.of(caller))))).caller == caller
