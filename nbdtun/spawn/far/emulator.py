"""
The QEMU program, and what it says that it can do: one is started without a machine, asked, and ended.

QEMU facts (7.2 and 10.0): with ``-machine none`` it answers ``query-machines``, ``query-cpu-definitions`` and ``device-list-properties``,
which fails for a device that it does not have. ``unavailable-features`` are those of the accelerator that it runs with. Commands on its
standard input are answered in order.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import field, frozen

from nbdtun.errors import NotMigratable
from nbdtun.migration.catalogue import LACKING
from nbdtun.migration.check.iothreads import ends, loses_exports
from nbdtun.migration.finding import Finding
from nbdtun.spawn.values import Machine
from nbdtun.units import listed

#: Seconds that QEMU has to answer all of it.
SECONDS: Final = 30
_QUESTIONS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("qmp_capabilities", {}),
    ("query-version", {}),
    ("query-machines", {}),
    ("query-cpu-definitions", {}),
)
#: Names of devices that stand for other ones, and are no types (softmmu/qdev-monitor.c).
_ALIASES: Final = frozenset({"lsi", "ahci", "e1000-82540em", "kvm-pci-assign", "virtio-input-host", "pc-dimm"})
_BUSES: Final = ("", "-pci", "-ccw", "-device")


@frozen
class Ability:
    """
    What a QEMU can do: its ``release``, types of machines, and models of CPUs with the features that this host lacks.

    ``missing`` are the devices that it does not have.
    """

    release: str
    machines: frozenset[str]
    cpus: Mapping[str, tuple[str, ...]] = field(factory=dict)
    missing: frozenset[str] = frozenset()

    def lacks(self, machine: Machine) -> Iterator[Finding]:
        """Yield what it cannot do of a machine."""
        if machine.type not in self.machines:
            yield LACKING(
                f"QEMU {self.release} there has no machine {machine.type}", "install the source's release of QEMU there, or a later one"
            )
        model = machine.cpu
        if model and self.cpus and model not in self.cpus and not (model == "host" and machine.kvm):
            yield LACKING(
                f"QEMU {self.release} there has no CPU model {model}", "install the source's release of QEMU there, or a later one"
            )
        elif machine.kvm and self.cpus.get(model):
            what = f"the host there lacks features of the CPU model {model}: {listed(self.cpus[model])}"
            yield LACKING(what, "start the VM with a model that both hosts have")
        for device in machine.devices:
            if device in self.missing:
                yield LACKING(f"QEMU {self.release} there has no device {device}", "install the package of QEMU that has it")
        if machine.iothreads and loses_exports(self.release):
            yield LACKING(ends(self.release), "use QEMU 8 or later there")


def find_emulator(wanted: str) -> str:
    """
    The path of the program: that at the source, or one of the same name.

    :raise NotMigratable: there is none.
    """
    if os.path.isfile(wanted) and os.access(wanted, os.X_OK):
        return wanted
    found = shutil.which(os.path.basename(wanted), path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin:/usr/libexec")
    if found is None:
        raise NotMigratable(f"{wanted} is not there", "install QEMU there, or name its program: --set emulator=PATH")
    return found


def ability(emulator: str, machine: Machine) -> Ability:
    """
    Ask a QEMU what it can do.

    :raise NotMigratable: it does not answer.
    """
    accelerator = "kvm" if machine.kvm else "tcg"
    words = [emulator, "-S", "-nodefaults", "-no-user-config", "-display", "none", "-machine", f"none,accel={accelerator}", "-qmp", "stdio"]
    devices = [device for device in machine.devices if device not in _ALIASES]
    names = [f"{device}{bus}" for device in devices for bus in _BUSES]
    questions = [*_QUESTIONS, *(("device-list-properties", {"typename": name}) for name in names), ("quit", {})]
    asked = "".join(json.dumps({"execute": name, "arguments": arguments}) + "\n" for name, arguments in questions)
    try:
        done = subprocess.run(words, input=asked.encode(), capture_output=True, timeout=SECONDS, cwd="/")
    except subprocess.TimeoutExpired:
        raise NotMigratable(f"{emulator} has not answered for {SECONDS} s") from None
    except OSError as error:
        raise NotMigratable(f"{emulator} cannot be started: {error.strerror}", "name another: --set emulator=PATH") from None
    answers = list(_answers(done.stdout))
    if len(answers) < len(questions) - 1:
        why = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no answer"]
        raise NotMigratable(f"{emulator} cannot be asked: {why[0]}", "" if not machine.kvm else "does this host have KVM?")
    _, version, machines, cpus, *told = answers
    known = {name for name, properties in zip(names, told, strict=False) if properties is not None}
    return Ability(
        release="{major}.{minor}.{micro}".format(**version["qemu"]),
        machines=frozenset(name for each in machines for name in (each["name"], each.get("alias", ""))),
        cpus={each["name"]: tuple(each.get("unavailable-features", ())) for each in cpus or ()},
        missing=frozenset(device for device in devices if not any(f"{device}{bus}" in known for bus in _BUSES)),
    )


def _answers(output: bytes) -> Iterator[Any]:
    for line in output.splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if "return" in told:
            yield told["return"]
        elif "error" in told:
            yield None
