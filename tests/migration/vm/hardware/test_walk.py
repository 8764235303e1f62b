"""The walk through a QEMU's objects: what is looked at, and what is not worth a question."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from nbdtun.errors import CommandFailed, MonitorError, MonitorLost
from nbdtun.migration.vm.hardware.walk import MAX_DEPTH, MAX_OBJECTS, Node, walk
from tests.migration.vm.hardware.tree import DIMM, KBD, N0, PCIE, SYSTEM, XHCI, Tree, bus, device, processor


def walked(qemu: Tree) -> Any:
    got: list[Any] = []
    Deferred.fromCoroutine(walk(qemu)).addCallbacks(got.append, lambda failure: got.append(failure.value))
    return got[0]


def asked(qemu: Tree) -> list[str]:
    """The paths that were listed; nothing else is asked."""
    assert set(qemu.asked) == {"qom-list"}
    return [each["path"] for each in qemu.arguments["qom-list"]]


@pytest.mark.parametrize("recent", [False, True], ids=["7.2", "10.0"])
def test_devices_and_buses_are_found(recent: bool) -> None:
    found = walked(Tree(recent))
    devices = {path for path, node in found.items() if node.is_device and not node.is_cpu and "unattached" not in path}
    assert devices == {"/machine/q35", "/machine/q35/mch", N0, f"{N0}/virtio-backend", DIMM, XHCI, KBD}
    assert {path for path, node in found.items() if node.is_bus} == {SYSTEM, PCIE, f"{N0}/virtio-bus", f"{XHCI}/usb-bus.0"}
    assert [path for path, node in found.items() if node.is_cpu] == ["/machine/unattached/device[0]"]
    assert all(found[path].path == path for path in found)


def test_properties_are_told_with_their_types_and_children_are_none() -> None:
    machine = walked(Tree())["/machine"]
    assert machine.kind == "machine"  # its own type is asked elsewhere
    assert machine.properties["smm"] == "OnOffAuto"
    assert not machine.properties.keys() & {"peripheral", "q35", "unattached"}


def test_what_has_nothing_below_it_is_not_asked() -> None:
    """Each is a question, and most objects are of this kind."""
    qemu = Tree()
    found = walked(qemu)
    paths = asked(qemu)
    assert len(paths) == len(set(paths))
    for kind in ("memory-region", "irq", "smbus-eeprom"):
        assert [path for path, (of, _) in qemu.objects.items() if of == kind and path in (*found, *paths)] == []
    assert SYSTEM in found
    assert not {SYSTEM, PCIE, "/machine/unattached/device[0]/lapic"} & {*paths}


def test_a_scsi_bus_is_asked() -> None:
    """It has those disks as its children that came by ``-drive if=scsi``."""
    qemu = Tree()
    scsi = f"{N0}/virtio-backend/s.0"
    qemu.objects |= {scsi: bus("SCSI"), f"{scsi}/legacy[0]": device("scsi-hd", scsi)}
    found = walked(qemu)
    assert found[scsi].is_bus
    assert found[f"{scsi}/legacy[0]"].is_device


def test_one_processor_stands_for_all() -> None:
    """255 of them would be 255 times five hundred properties."""
    qemu = Tree()
    qemu.objects |= {f"/machine/unattached/device[{number}]": processor(False) for number in range(100, 120)}
    found = walked(qemu)
    assert len([path for path in asked(qemu) if path.startswith("/machine/unattached/device[1")]) == 0
    assert [node.kind for node in found.values() if node.is_cpu] == ["Nehalem-x86_64-cpu"]


def test_what_was_unplugged_meanwhile_has_nothing() -> None:
    qemu = Tree()

    def gone(path: str) -> Any:
        if path.startswith(N0):
            raise CommandFailed("web1: Device not found")
        return qemu.qom_list(path)

    qemu.answers["qom-list"] = gone
    found = walked(qemu)
    assert found[N0] == Node(N0, "virtio-net-pci")
    assert not found[N0].is_device
    assert f"{N0}/virtio-backend" not in found


def test_a_qemu_that_is_gone_is_an_error() -> None:
    assert isinstance(walked(Tree(qom_list=MonitorLost("web1: QEMU closed its monitor"))), MonitorLost)


@pytest.mark.parametrize("rows", [[{"name": "x", "type": 7}], {"name": "x"}, "x", None])
def test_nonsense_is_as_nothing(rows: Any) -> None:
    assert walked(Tree(qom_list=lambda path: rows)) == {"/machine": Node("/machine", "machine")}


def rows(number: int) -> Any:
    return lambda path: [{"name": f"x{each}", "type": "child<y>"} for each in range(number)]


@pytest.mark.parametrize(("number", "asks"), [(1, MAX_DEPTH), (MAX_OBJECTS, 1)], ids=["a well", "a crowd"])
def test_it_ends(number: int, asks: int) -> None:
    """What is no QEMU may have no end; and it is not asked more than that takes."""
    qemu = Tree(qom_list=rows(number))
    error = walked(qemu)
    assert isinstance(error, MonitorError)
    assert str(error) == f"web1: QEMU has more than {MAX_OBJECTS} objects; is /run/web1.qmp a QEMU monitor?"
    assert len(qemu.asked) == asks
