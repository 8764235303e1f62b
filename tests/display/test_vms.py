"""The VMs of a host, a line each."""

from __future__ import annotations

from typing import Any

import pytest

from nbdtun.display.vms import line

ROW: dict[str, Any] = {
    "vm": "web1",
    "state": "running",
    "memory": 1 << 30,
    "disks": 9 << 30,
    "error": None,
    "code": None,
    "migration": None,
}
AWAY: dict[str, Any] = {"state": None, "memory": 0, "disks": 0}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"at": {}}, "web1  running; 9 GiB of disks, 1 GiB of memory"),
        ({**AWAY, "at": {"hv2": {"state": "running", "error": None}}}, "web1  not here; at hv2: running"),
        ({**AWAY, "at": {"hv2": {"state": None, "error": None}}}, "web1  not here; at hv2: not there"),
        ({**AWAY, "state": "postmigrate", "at": {}}, "web1  its guest has left"),
        ({**AWAY, "error": "no answer", "code": "monitor", "at": {}}, "web1  cannot be asked: no answer [monitor]"),
        (
            {**AWAY, "at": {"hv2": {"state": None, "error": "refused", "code": "unreachable"}}},
            "web1  not here; at hv2: cannot be asked: refused [unreachable]",
        ),
        ({"migration": {"pid": 7, "to": "ssh://hv2"}, "at": {}}, "web1  is being migrated to ssh://hv2 by process 7"),
        ({"migration": {"pid": 7, "to": None}, "at": {}}, "web1  is being migrated by process 7"),
    ],
)
def test_a_line(changes: dict[str, Any], says: str) -> None:
    assert line({**ROW, **changes}) == says
