"""What is to be done about a VM, by where it is."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nbdtun.migration.plugins.module_utils.whereabouts import ASK, FAIL, MIGRATE, SETTLE, WAIT, is_there, next_step

HERE: dict[str, Any] = {"state": "running", "migration": None, "error": None}


@pytest.mark.parametrize(
    ("changes", "libvirt", "step"),
    [
        ({}, False, MIGRATE),
        ({"state": "paused"}, False, MIGRATE),
        ({"state": "paused"}, True, SETTLE),
        ({"state": "io-error"}, False, MIGRATE),
        ({"state": "postmigrate"}, False, SETTLE),
        ({"state": "finish-migrate"}, False, SETTLE),
        ({"state": None}, False, ASK),
        ({"state": "inmigrate"}, False, ASK),
        ({"state": "postmigrate", "migration": {"pid": 1}}, False, WAIT),
        ({"state": None, "error": "no"}, False, FAIL),
        ({"error": "no", "migration": {"pid": 1}}, False, WAIT),
    ],
)
def test_each_place(changes: dict[str, Any], libvirt: bool, step: str) -> None:
    assert next_step({**HERE, **changes}, libvirt) == step


@pytest.mark.parametrize(("state", "error", "there"), [("running", None, True), (None, None, False), (None, "no", None)])
def test_whether_it_is_there(state: str | None, error: str | None, there: bool | None) -> None:
    assert is_there({"at": {"hv2": {"state": state, "error": error}}}, "hv2") is there
