"""
Reads a QEMU's :class:`~nbdtun.migration.vm.hardware.model.Hardware`. It changes nothing, and sends many queries at a time.

It does not use ``query-pci``: in a QEMU that waits for its migration, no firmware has numbered the bridges yet, and that command shows
nothing behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from nbdtun.errors import CommandFailed
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.vm.hardware import blocks, cpu, facts
from nbdtun.migration.vm.hardware.model import Device, Hardware, Scalar
from nbdtun.migration.vm.hardware.places import ADDRESSES, Found, Places, natural
from nbdtun.migration.vm.hardware.walk import Node, walk
from nbdtun.migration.vm.machine import machine
from nbdtun.migration.vm.requirements import version

MAX_TEXT = 255
#: Properties of the machine that its guest or the stream depends on. ``max-ram-below-4g`` moves RAM, ``smm`` is a state of each processor.
SETTINGS = ("smm", "acpi", "nvdimm", "max-ram-below-4g", "default-bus-bypass-iommu", "default_bus_bypass_iommu")
_PLACES = ("node-id", "socket-id", "die-id", "cluster-id", "module-id", "core-id", "thread-id")


async def hardware(monitor: Monitor) -> Hardware:
    """
    Read the whole machine.

    :raise MonitorError: QEMU cannot be asked.
    """
    nodes = await walk(monitor)
    processors = await _ask(monitor, "query-hotpluggable-cpus", [])
    kvm = await _ask(monitor, "query-kvm", {}) if await monitor.has("query-kvm") else {}
    return Hardware(
        machine=await machine(monitor),
        version=f"{await version(monitor)}",
        accelerator="" if not kvm else "kvm" if kvm["enabled"] else "tcg",
        settings=await _settings(monitor, nodes["/machine"].properties),
        cpu=await _cpu(monitor, nodes, kvm.get("enabled") is True),
        processors=tuple(sorted(map(_processor, processors))),
        devices=await _devices(monitor, nodes),
        blocks=blocks.parse((await _ask(monitor, "x-query-ramblock", {})).get("human-readable-text", "")),
        usb=_ports(await _usb(monitor, nodes)),
        keepers=tuple(each["options"]["type"] for each in await _ask(monitor, "query-tpm", [])),
    )


async def _ask(monitor: Monitor, command: str, otherwise: Any) -> Any:
    """The answer, or ``otherwise`` from a QEMU that does not support the command."""
    try:
        return await monitor.execute(command) or otherwise
    except CommandFailed:
        return otherwise


def _processor(row: Mapping[str, Any]) -> str:
    """A processor's place, and whether it is empty. Zeroes are left out: only some releases report numbers that are always 0."""
    numbers = {name: row["props"].get(name) for name in _PLACES}
    where = [f"{name.removesuffix('-id')} {number}" for name, number in numbers.items() if isinstance(number, int) and number]
    return f"{' '.join(where) or 'core 0'}{'' if 'qom-path' in row else ' (empty)'}"


async def _settings(monitor: Monitor, properties: Mapping[str, str]) -> dict[str, Scalar]:
    (told,) = await values(monitor, [("/machine", SETTINGS & properties.keys())])
    (memory,) = await monitor.ask_all("qom-get", [{"path": "/machine", "property": "memory"}])
    told["uuid"] = str((await _ask(monitor, "query-uuid", {})).get("UUID", "auto"))
    if isinstance(memory, dict):
        told |= {name: memory[name] for name in ("slots", "max-size") if isinstance(memory.get(name), int)}
    return {name: value for name, value in told.items() if value != "auto"}


async def _cpu(monitor: Monitor, nodes: Mapping[str, Node], kvm: bool) -> dict[str, Scalar]:
    first = min((node for node in nodes.values() if node.is_cpu), key=lambda node: natural(node.path), default=None)
    if first is None:
        return {}
    (told,) = await values(monitor, [(first.path, cpu.wanted(first.properties, kvm))])
    (more,) = await values(monitor, [(first.path, cpu.parts(first.properties, told))])
    return {"type": first.kind} | told | more


async def _devices(monitor: Monitor, nodes: Mapping[str, Node]) -> tuple[Device, ...]:
    chosen = [node for node in nodes.values() if node.is_device and not node.is_cpu]
    asked = [(node.path, _wanted(node, nodes)) for node in chosen]
    found = {node.path: Found(node, told) for node, told in zip(chosen, await values(monitor, asked), strict=True)}
    places = Places(nodes, found)
    devices = [_device(each, places.key(path)) for path, each in found.items() if each.bus or path.rpartition("/")[0] not in found]
    return tuple(sorted(devices, key=lambda device: device.key))


def _wanted(node: Node, nodes: Mapping[str, Node]) -> frozenset[str]:
    """The properties to read; those that a virtio device's PCI side only forwards are read from the virtio device itself."""
    behind = nodes.get(f"{node.path}/virtio-backend")
    asked = facts.wanted(node.kind, node.properties) - (behind.properties.keys() if behind else frozenset())
    return asked | (ADDRESSES & node.properties.keys())


def _device(found: Found, key: str) -> Device:
    named = re.match(r"/machine/peripheral/([^/]+)", found.node.path)
    compared = facts.wanted(found.node.kind, found.node.properties)
    told = {name: value for name, value in found.values.items() if name in compared}
    return Device(key, found.node.kind, named[1] if named else "", told, found.node.path)


async def values(monitor: Monitor, asked: Iterable[tuple[str, Iterable[str]]]) -> list[dict[str, Scalar]]:
    """The values of the named properties of each object, by its path; those that QEMU does not report are missing."""
    each = [(path, sorted(names)) for path, names in asked]
    told = iter(await monitor.ask_all("qom-get", [{"path": path, "property": name} for path, names in each for name in names]))
    return [{name: value for name in names if (value := _clean(next(told))) is not None} for _, names in each]


def _clean(value: object) -> Scalar | None:
    if isinstance(value, str):
        return "".join(letter if letter.isprintable() else "?" for letter in value.strip()[:MAX_TEXT])
    return value if isinstance(value, int) and abs(value) < 1 << 64 else None


async def _usb(monitor: Monitor, nodes: Mapping[str, Node]) -> str:
    if not any(node.is_bus and node.kind == "usb-bus" for node in nodes.values()):
        return ""
    (told,) = await monitor.ask_all("human-monitor-command", [{"command-line": "info usb"}])
    return told if isinstance(told, str) else ""


def _ports(text: str) -> tuple[str, ...]:
    """The device at each port of each bus, from ``info usb``: the only source for ports that QEMU has chosen."""
    rows = re.findall(r"Device (\d+)\.\d+, Port ([\d.]+), Speed [^,]*, Product ([^,\n]*)", text)
    return tuple(sorted(f"{_clean(product)} at port {port} of bus {bus}" for bus, port, product in rows))
