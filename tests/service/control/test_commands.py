"""What is told of VMs over a control socket; the report itself has tests with the socket."""

from __future__ import annotations

import pytest

from nbdtun.errors import ProtocolViolation
from nbdtun.service.control.commands import ChangedVMs, changed_vms
from nbdtun.typed import as_json


def test_changed_vms_go_and_come() -> None:
    vms = ChangedVMs(("web1=/q",), ("db*",))
    assert changed_vms(as_json(vms)) == vms


@pytest.mark.parametrize("told", [{}, {"add": []}, {"add": "web1", "remove": []}, {"add": [7], "remove": []}])
def test_anything_else_is_refused(told: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation):
        changed_vms(told)
