"""The collection, by a real ansible-core over ssh between two hosts with real sshds: one VM that is to run at the other host."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.ansible import Rack
from tests.integration.ansible_moves.conftest import VM


def test_a_vm_runs_at_the_other_host(rack: Rack) -> None:
    """The dry run shows the plan and changes nothing; the task moves it; a second run changes nothing."""
    vm = VM(rack, "web1", ticking=False)  # which it does long before it moves
    wanted = {"nbdtun.migration.migrate": {"vm": "web1", "to": "ssh://hv2", "settle": "200ms"}}
    there = {"ansible.builtin.stat": {"path": "/srv/vm"}, "delegate_to": "hv2"}
    dry, made, first, second = rack.tasks({**wanted, "check_mode": True, "diff": True}, there, wanted, wanted)
    assert (dry["failed"], dry["changed"], dry["outcome"]) == (False, True, "would_move"), dry
    assert "make   qcow2 image /srv/vm/web1.qcow2 for vda: 16 MiB" in dry["diff"]["after"]
    assert made["stat"]["exists"] is False
    assert (first["failed"], first["changed"], first["outcome"], first["code"]) == (False, True, "moved", None), first
    assert (second["failed"], second["changed"], second["outcome"]) == (False, False, "there"), second
    assert vm.runs_at() == ["hv2"]
    assert vm.whole_at(1) == []


@pytest.mark.slow
def test_what_is_told_of_vms_and_of_failures(rack: Rack, directory: Path) -> None:
    VM(rack, "web1")
    told = rack.task("vm_info", to=["ssh://hv2", "192.0.2.2:1"], insecure=True)
    (web1,) = told["vms"]
    assert (told["changed"], web1["vm"], web1["state"], web1["migration"]) == (False, "web1", "running", None), told
    assert (web1["at"]["ssh://hv2"]["state"], web1["at"]["192.0.2.2:1"]["code"]) == (None, "unreachable")
    absent = rack.task("migrate", vm="web9", to="ssh://hv2")
    assert (absent["failed"], absent["changed"], absent["outcome"], absent["code"]) == (True, False, "absent", "vm-unknown"), absent
    nobody = rack.task("migrate", vm="web1", to="192.0.2.2:1", insecure=True)
    assert (nobody["failed"], nobody["outcome"], nobody["code"]) == (True, "stayed", "unreachable"), nobody
    assert "is `nbdtun dest` running?" in nobody["msg"]
    assert rack.task("vm_info", executable="/nowhere/nbdtun")["code"] == "not-installed"
