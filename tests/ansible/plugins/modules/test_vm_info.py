"""The module `vm_info`."""

from __future__ import annotations

from tests.ansible.stage import Play, row


def test_all_vms(play: Play) -> None:
    play.answers = [(0, row()[1] + "\n" + row("paused", vm="web2")[1], "")]
    result = play.run("vm_info")
    assert ([vm["vm"] for vm in result["vms"]], result["changed"]) == (["web1", "web2"], False)
    assert play.said == [["vms", "--json", "--qmp=/run/qemu/{vm}.qmp"]]


def test_a_host_without_any(play: Play) -> None:
    play.answers = [(0, "", "")]
    assert play.run("vm_info")["vms"] == []


def test_certain_ones_at_other_hosts(play: Play) -> None:
    play.answers = [row(None, {"hv2": "running"}), (1, row(None, {"hv2": {"state": None, "error": "no"}})[1], "")]
    result = play.run("vm_info", vms=["web1", "web2"], to=["hv2"], qmp="/q/{vm}", check=True)
    assert [vm["at"]["hv2"]["state"] for vm in result["vms"]] == ["running", None]
    assert play.said == [["vms", "--json", f"--qmp=/q/{vm}", "--to=hv2", "--", vm] for vm in ("web1", "web2")]


def test_a_libvirt_that_cannot_be_asked(play: Play) -> None:
    play.answers = [(1, "", "nbdtun: libvirt does not run; start it [libvirt]\n")]
    result = play.run("vm_info", libvirt="qemu:///system")
    assert (result["failed"], result["code"], result["msg"]) == (True, "libvirt", "libvirt does not run; start it")
