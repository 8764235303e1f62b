"""QEMU's tree of objects on paper: a small q35 machine as 7.2 and 10.0 were seen to tell it."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from nbdtun.errors import CommandFailed
from tests.migration.stage.paper import Sheet

#: An object's type, and its properties: each one's type and value.
Object = tuple[str, dict[str, tuple[str, Any]]]

SYSTEM, PCIE = "/machine/unattached/sysbus", "/machine/q35/pcie.0"
N0, XHCI = "/machine/peripheral/n0", "/machine/peripheral/u"
DIMM, KBD = "/machine/peripheral/dimm1", "/machine/peripheral-anon/device[0]"


def device(kind: str, bus: str, **told: tuple[str, Any]) -> Object:
    """A device on ``bus``; a property's name has underscores for hyphens."""
    every = {name.replace("_", "-"): each for name, each in told.items()}
    return kind, {"parent_bus": ("link<bus>", bus), "realized": ("bool", True), "hotplugged": ("bool", False), **every}


def bus(kind: str) -> Object:
    """A bus."""
    return kind, {"realized": ("bool", True), "hotplug-handler": ("link<hotplug-handler>", "")}


def processor(recent: bool) -> Object:
    """Of its five hundred properties those that show each rule."""
    kind, told = device("Nehalem-x86_64-cpu", "")
    features = {"sse2": True, "aes": False, "sse4_1": True, "sse4-1": True, "ht": recent, "vmx": False, "vmx-ept": True, "kvmclock": False}
    values = {"vendor": ("string", "GenuineIntel"), "level": ("uint32", 11), "model-id": ("string", "Intel Core i7 9xx ")}
    return kind, told | {name: ("bool", has) for name, has in features.items()} | values


class Tree(Sheet):
    """A QEMU; ``objects`` is its tree, by paths."""

    def __init__(self, recent: bool = False, **answers: Any) -> None:
        given = {name.replace("_", "-"): answer for name, answer in answers.items()}
        super().__init__(Clock(), {"qom-list": self.qom_list, "qom-get": self.qom_get, **_usual(recent), **given})
        self.more = {"query-kvm"}
        self.objects = _board(recent) | _plugged(recent)

    def qom_list(self, path: str) -> Any:
        if path not in self.objects:
            raise CommandFailed(f"web1: Device '{path}' not found")
        below = [(each.rpartition("/")[2], kind) for each, (kind, _) in self.objects.items() if each.rpartition("/")[0] == path]
        told = [{"name": name, "type": of} for name, (of, _) in self.objects[path][1].items()]
        return [{"name": "type", "type": "string"}, *told, *({"name": name, "type": f"child<{kind}>"} for name, kind in below)]

    def qom_get(self, path: str, property: str) -> Any:
        kind, told = self.objects.get(path, ("", {}))
        if property == "type" and kind:
            return kind
        if property not in told:
            raise CommandFailed(f"web1: Property '{kind}.{property}' not found")
        return told[property][1]


def _usual(recent: bool) -> dict[str, Any]:
    numbers = {"thread-id": 0, "socket-id": 0, "node-id": 0}
    empty, taken = ({"props": {"core-id": 1} | numbers}, {"props": {"core-id": 0} | numbers, "qom-path": "/machine/unattached/device[0]"})
    return {
        "query-version": {"qemu": {"major": 10, "minor": 0, "micro": 2} if recent else {"major": 7, "minor": 2, "micro": 22}},
        "query-memory-size-summary": {"base-memory": 1 << 27},
        "query-kvm": {"enabled": False, "present": True},
        "query-hotpluggable-cpus": [empty, taken],
        "query-tpm": [],
        "x-query-ramblock": {"human-readable-text": "pc.ram    4 KiB  0x0 0x8000000 0x8000000\n"},
        "human-monitor-command": "  Device 0.0, Port 1, Speed 480 Mb/s, Product QEMU USB Keyboard\r\n",
    }


def _board(recent: bool) -> dict[str, Object]:
    """The numbers in ``unattached`` are QEMU's own, and differ between the releases."""
    lpc, eeprom = ("device[3]", "device[15]") if recent else ("device[4]", "device[18]")
    machine: dict[str, tuple[str, Any]] = {
        "smm": ("OnOffAuto", "auto"),
        "acpi": ("OnOffAuto", "on"),
        "nvdimm": ("bool", False),
        "max-ram-below-4g": ("size", 0),
        "memory": ("MemorySizeConfiguration", {"size": 1 << 27, "slots": 2, "max-size": 1 << 30}),
        "kernel": ("string", "/boot/vmlinuz"),
    }
    unattached = "/machine/unattached"
    return {
        "/machine": ("pc-q35-7.2-machine", machine),
        unattached: ("container", {}),
        SYSTEM: bus("System"),
        f"{unattached}/system[0]": ("memory-region", {}),
        f"{unattached}/non-qdev-gpio[0]": ("irq", {}),
        f"{unattached}/device[0]": processor(recent),
        f"{unattached}/device[0]/lapic": device("apic", ""),
        f"{unattached}/{lpc}": device("ICH9-LPC", PCIE, legacy_addr=("str", "1f.0")),
        f"{unattached}/{eeprom}": device("smbus-eeprom", "/machine/unattached/i2c"),
        "/machine/q35": device("q35-pcihost", SYSTEM),
        PCIE: bus("PCIE"),
        "/machine/q35/mch": device("mch", PCIE, legacy_addr=("str", "00.0")),
        "/machine/peripheral": ("container", {}),
        "/machine/peripheral-anon": ("container", {}),
    }


def _plugged(recent: bool) -> dict[str, Object]:
    """10.0 tells ``addr`` as a text, and one feature more."""
    addr = ("str", "05.0") if recent else ("int32", 40)
    features: dict[str, tuple[str, Any]] = {"mq": ("bool", True), "mac": ("str", "52:54:00:00:00:01"), "netdev": ("str", "net0")}
    features |= {"in_order": ("bool", False)} if recent else {}
    outer = device("virtio-net-pci", PCIE, addr=addr, legacy_addr=("str", "05.0"), vectors=("uint32", 4))
    return {
        N0: (outer[0], outer[1] | features),
        f"{N0}/virtio-bus": bus("virtio-pci-bus"),
        f"{N0}/virtio-backend": (device("virtio-net-device", "")[0], device("", f"{N0}/virtio-bus")[1] | features),
        f"{N0}/bus master[0]": ("memory-region", {}),
        DIMM: device("pc-dimm", "", addr=("uint64", 1 << 32), memdev=("link<memory-backend>", "/objects/m1"), slot=("int32", 0)),
        XHCI: device("qemu-xhci", PCIE, legacy_addr=("str", "03.0")),
        f"{XHCI}/usb-bus.0": bus("usb-bus"),
        KBD: device("usb-kbd", f"{XHCI}/usb-bus.0", port=("str", "")),
    }
