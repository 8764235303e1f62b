"""The collection with VMs of libvirt: real libvirtds at two hosts, which a real ansible-core reaches by ssh, and they each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import collection, libvirt
from lab.ansible import LibvirtRack
from lab.disks import MIB, Disk
from lab.domain import Domain
from lab.guest import Guest
from lab.libvirt import SPARE
from lab.process import Process, wait
from tests.integration.ansible_moves.conftest import ended

WHY = libvirt.unable() or collection.unable()
VIRT = {"libvirt": "qemu:///system"}
QUICK = {**VIRT, "settle": "200ms"}
PATIENT = 120


@pytest.fixture
def rack(directory: Path) -> Iterator[LibvirtRack]:
    if WHY:
        pytest.skip(WHY)
    with LibvirtRack(directory) as one:
        yield one


class VM:
    """One of libvirt's VMs at a host, whose guest ticks."""

    def __init__(self, rack: LibvirtRack, guest: Guest, name: str, number: int = 0) -> None:
        self._rack, self.name = rack, name
        host = rack.hosts[number]
        self._domain = Domain(guest, (Disk(host.spare / f"{name}.qcow2", 32 * MIB, "qcow2", filled=1.0).make(),), name)
        self._domain.start(host, persistent=True)
        self._domain.wait_ticks(host, 3, PATIENT)

    def runs_at(self) -> list[str]:
        """The hosts where it runs: one, if all is well."""
        return [host.name for host in self._rack.hosts if self.name in host.virsh("list", "--name", "--state-running").split()]

    def known_at(self) -> list[str]:
        """The hosts that have it, whether it runs there or not."""
        return [host.name for host in self._rack.hosts if self.name in host.virsh("list", "--name", "--all").split()]

    def faults_at(self, number: int) -> list[str]:
        """What is wrong with it at a host, to which it has moved: its guest ticks on there, and nothing was lost."""
        there, other = self._rack.hosts[number], self._rack.hosts[1 - number]
        self._domain.wait_ticks(there, 3, PATIENT)
        return list(self._domain.faults(other, there))


@pytest.mark.slow
def test_a_vm_of_libvirts_runs_at_the_other_host(rack: LibvirtRack, guest: Guest) -> None:
    """The dry run changes nothing; the task moves it; a second run changes nothing; and it comes home."""
    vm = VM(rack, guest, "web1")
    wanted = {"nbdtun.migration.migrate": {"vm": "web1", "to": "ssh://hv2", **QUICK}}
    made = {"ansible.builtin.stat": {"path": f"{SPARE}/web1.qcow2"}, "delegate_to": "hv2"}
    dry, image, first, second = rack.tasks({**wanted, "check_mode": True, "diff": True}, made, wanted, wanted)
    assert (dry["failed"], dry["changed"], dry["outcome"]) == (False, True, "would_move"), dry
    assert (dry["diff"]["before"], dry["diff"]["after"]) == ("web1: runs at hv1\n", "web1: runs at ssh://hv2\n")
    assert image["stat"]["exists"] is False
    assert (first["failed"], first["changed"], first["outcome"], first["code"]) == (False, True, "moved", None), first
    assert first["diff"]["after"] == "web1: runs at ssh://hv2\n"
    assert (second["failed"], second["changed"], second["outcome"]) == (False, False, "there"), second
    assert (vm.runs_at(), vm.known_at()) == (["hv2"], ["hv2"])
    assert vm.faults_at(1) == []
    (about,) = rack.task("vm_info", vms=["web1"], to=["ssh://hv2"], **VIRT)["vms"]
    assert (about["state"], about["at"]["ssh://hv2"]["state"]) == (None, "running"), about
    absent = rack.task("migrate", vm="web9", to="ssh://hv2", **QUICK)
    assert (absent["failed"], absent["outcome"], absent["code"]) == (True, "absent", "vm-unknown"), absent


@pytest.mark.slow
def test_a_host_of_libvirt_is_emptied_once(rack: LibvirtRack, guest: Guest) -> None:
    vms = [VM(rack, guest, name) for name in ("web1", "web2")]
    wanted: dict[str, Any] = {"to": ["ssh://hv2"], **QUICK}
    dry = rack.task("evacuate", "--check", "--diff", **wanted)
    assert (dry["failed"], dry["changed"], dry["moved"]) == (False, True, ["web1", "web2"]), dry
    assert dry["diff"]["after"] == "web1: ssh://hv2\nweb2: ssh://hv2\n"
    assert [vm.known_at() for vm in vms] == [["hv1"], ["hv1"]]
    first = rack.task("evacuate", **wanted)
    assert (first["failed"], first["changed"], sorted(first["moved"])) == (False, True, ["web1", "web2"]), first
    assert [vm.runs_at() for vm in vms] == [["hv2"], ["hv2"]]
    second = rack.task("evacuate", **wanted)
    assert (second["failed"], second["changed"], second["vms"]) == (False, False, []), second
    assert [vm.faults_at(1) for vm in vms] == [[], []]


def rebooting(rack: LibvirtRack, run: Process) -> str:
    """What a run has said; when it asks for a reboot of a host, there is one."""
    asked = [host.spare / "reboot" for host in rack.hosts]
    while True:
        wait(lambda: not run.running() or any(each.exists() for each in asked), 240, "a reboot, or the end")
        if not run.running():
            return ended(run)
        for number, each in enumerate(asked):
            if each.exists():
                each.unlink()
                (rack.hosts[number].spare / "boot").write_text("2")
                rack.reboot(number)


@pytest.mark.slow
def test_a_rack_is_rebooted_host_by_host(rack: LibvirtRack, guest: Guest) -> None:
    """The playbook as it is shipped, with a VM at each host: both hosts end with all their processes, and both VMs are home at its end."""
    vms = [VM(rack, guest, "web1"), VM(rack, guest, "db1", 1)]
    for host in rack.hosts:
        (host.spare / "boot").write_text("1")
    reboot = {"reboot_command": f"/usr/bin/touch {SPARE}/reboot", "boot_time_command": f"cat {SPARE}/boot", "reboot_timeout": 120}
    told = {"rack": "rack", "nbdtun_upgrade": False, "nbdtun_options": QUICK, "nbdtun_reboot": reboot}
    said = rebooting(rack, rack.begin("ansible-playbook", "nbdtun.migration.reboot_rack", "-e", json.dumps(told)))
    assert said.count("failed=0") == 2, said
    assert [(vm.runs_at(), vm.known_at()) for vm in vms] == [(["hv1"], ["hv1"]), (["hv2"], ["hv2"])]
    assert [vm.faults_at(number) for number, vm in enumerate(vms)] == [[], []]
    assert [(host.spare / "boot").read_text() for host in rack.hosts] == ["2", "2"]
    assert [host.path("/var/lib/nbdtun/evacuated.json").exists() for host in rack.hosts] == [False, False]
