"""
The rules by which two machines are compared: all differences at once. Rules without I/O.

A difference that QEMU would refuse, or that the guest would not survive, is a failure: the destination must have all that the source has.
An extra at the destination is a warning: the guest does not know about it. Only properties that both QEMUs have are compared, as each
release adds some.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from nbdtun.migration.catalogue import ALLOWED, MACHINE, MACHINE_SETTING, RAM_BLOCK
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.vm.hardware import keepers, processors
from nbdtun.migration.vm.hardware.devices import compare_devices
from nbdtun.migration.vm.hardware.model import Device, Hardware
from nbdtun.migration.vm.machine import sizes


def compare(there: Hardware, here: Hardware) -> list[Finding]:
    """The differences of ``here``, at the destination, from ``there``, at the source; and content of the source that would stay behind."""
    devices, strangers = compare_devices(there, here)
    return [
        *_machine(there, here),
        *processors.compare(there, here),
        *devices,
        *_blocks(there, here, strangers),
        *keepers.find(there),
    ]


def allow(findings: Iterable[Finding], allowed: Iterable[str]) -> list[Finding]:
    """The findings, where ``allowed`` failures have become warnings; a name that allows nothing is a finding too."""
    names = frozenset(allowed)
    every = list(findings)
    unused = names - {finding.name for finding in every if finding.level is Level.FAILURE}
    return [
        *(_excused(finding) if finding.name in names and finding.level is Level.FAILURE else finding for finding in every),
        *(ALLOWED(f"--allow-mismatch {name} has no effect: no failure has that name") for name in sorted(unused)),
    ]


def _excused(finding: Finding) -> Finding:
    return Finding(Level.WARNING, finding.check, f"{finding.what} (allowed)", name=finding.name)


def _machine(there: Hardware, here: Hardware) -> Iterator[Finding]:
    for error in here.machine.differences(there.machine):
        yield MACHINE.of(error)
    if there.accelerator != here.accelerator and there.accelerator and here.accelerator:
        both = f"the guest runs with {there.accelerator} at the source and with {here.accelerator} at the destination"
        yield MACHINE_SETTING(both, f"start the destination with -accel {there.accelerator}", name="accel")
    for name in sorted(there.settings.keys() & here.settings.keys()):
        if there.settings[name] != here.settings[name]:
            both = f"the machine's {name} is {there.settings[name]} at the source and {here.settings[name]} at the destination"
            option = {"slots": "-m", "max-size": "-m", "uuid": f"-uuid {there.settings[name]}"}.get(name, "-machine")
            yield MACHINE_SETTING(both, f"start the destination with the same {option}", name=name)


def _blocks(there: Hardware, here: Hardware, strangers: Iterable[Device]) -> Iterator[Finding]:
    """The blocks of memory, without those of missing or changed devices: the finding about the device covers them."""
    if not there.blocks or not here.blocks:
        return
    known = {block.name: block for block in here.blocks}
    told = tuple(strangers)
    for block in there.blocks:
        if any(_belongs(block.name, device) for device in told):
            continue
        mine = known.get(block.name)
        if mine is None:
            remedy = f"give the destination a memory backend with id={block.name}" if ":" not in block.name else "use the same ROM there"
            yield RAM_BLOCK(f"the RAM block {block.name} of the source is missing at the destination", remedy, name=block.name)
        elif there.machine.memory == here.machine.memory and not (mine.total >= block.used if mine.resizable else mine.used == block.used):
            theirs, ours = sizes(block.used, mine.used)
            both = f"the RAM block {block.name} has {theirs} at the source and {ours} at the destination"
            yield RAM_BLOCK(both, "give it the same size there", name=block.name)


def _belongs(name: str, device: Device) -> bool:
    if name == str(device.facts.get("memdev", "")).rpartition("/")[2]:
        return True
    address = [part.removeprefix("pci:") for part in device.place.split("/") if part.startswith("pci:")]
    return bool(address) and name.startswith(f"0000:00:{':'.join(address)}/")
