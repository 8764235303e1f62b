"""The collection, by a real ansible-core over ssh between two hosts with real sshds: a host that is emptied, and rebooted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.ansible import Rack
from lab.process import Process, wait
from tests.integration.ansible_moves.conftest import VM, ended

QUICK = {"settle": "200ms", "retry_pause": "500ms"}


@pytest.mark.slow
def test_a_host_is_emptied_once(rack: Rack) -> None:
    vms = [VM(rack, name) for name in ("web1", "web2")]
    dry = rack.task("evacuate", "--check", "--diff", to=["ssh://hv2"], **QUICK)
    assert (dry["failed"], dry["changed"], dry["moved"]) == (False, True, ["web1", "web2"]), dry
    assert dry["diff"]["after"] == "web1: ssh://hv2\nweb2: ssh://hv2\n"
    assert [vm.runs_at() for vm in vms] == [["hv1"], ["hv1"]]
    first = rack.task("evacuate", to=["ssh://hv2"], **QUICK)
    assert (first["failed"], first["changed"], sorted(first["moved"])) == (False, True, ["web1", "web2"]), first
    assert [vm.runs_at() for vm in vms] == [["hv2"], ["hv2"]]
    second = rack.task("evacuate", to=["ssh://hv2"], **QUICK)
    assert (second["failed"], second["changed"], second["vms"]) == (False, False, []), second
    assert [vm.whole_at(1) for vm in vms] == [[], []]


def rebooting(rack: Rack, run: Process) -> str:
    """What a run has said; when it asks for a reboot of the first host, there is one."""
    asked = rack.hosts[0].path("/srv/reboot")
    wait(lambda: asked.exists() or not run.running(), 240, "a reboot")
    if asked.exists():
        asked.unlink()
        rack.hosts[0].path("/srv/boot").write_text("2")
        rack.reboot(0)
    return ended(run)


@pytest.mark.slow
def test_a_host_is_rebooted_without_stopping_a_vm(rack: Rack, directory: Path) -> None:
    """The playbook as it is shipped; the host ends with all its processes, and comes up with what is on its disks."""
    vm = VM(rack, "web1")
    rack.hosts[0].path("/srv/boot").write_text("1")
    told = {
        "rack": "hv1",
        "nbdtun_others": ["hv2"],
        "nbdtun_upgrade": False,
        "nbdtun_options": QUICK,
        "nbdtun_reboot": {"reboot_command": "/usr/bin/touch /srv/reboot", "boot_time_command": "cat /srv/boot", "reboot_timeout": 120},
    }
    run = rack.begin("ansible-playbook", "nbdtun.migration.reboot_rack", "-e", json.dumps(told))
    assert "failed=0" in rebooting(rack, run)
    assert vm.runs_at() == ["hv1"]
    assert vm.whole_at(0) == []
    assert rack.hosts[0].path("/srv/boot").read_text() == "2"
    assert not rack.hosts[0].path("/var/lib/nbdtun/evacuated.json").exists()
    wait(lambda: not rack.hosts[1].path("/run/qemu/web1.qmp").exists(), 20, "the end of its QEMU at the other host")
