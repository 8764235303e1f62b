"""Many VMs of one host, each a pair of QEMUs, two destinations that could take any of them, and runs of `nbdtun evacuate`.

All that leaves the host goes over one cable, where there is one.

After an evacuation each VM must run exactly once, with every tick on its disks: `faults()` has the lines that say what is wrong.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from lab.booted import Booted
from lab.cable import Cable
from lab.daemon import BIN, Twistd, free_port
from lab.disks import MIB
from lab.gate import Gate
from lab.guest import Guest
from lab.pair import Pair, Plan
from lab.process import Process, marked
from lab.qemu import Qemu

SMALL = Plan(8 * MIB)


class Run(Process):
    """`nbdtun evacuate --progress json` as it runs."""

    def __init__(self, directory: Path, *arguments: str, number: int) -> None:
        self._output = directory / f"evacuate-{number}.json"
        command = [f"{BIN}/nbdtun", "evacuate", *arguments]
        super().__init__(command, directory / f"evacuate-{number}.log", output=self._output)

    def overviews(self) -> list[dict[str, Any]]:
        """All objects that it has printed so far."""
        lines = self._output.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def said(self) -> str:
        """All that it has printed."""
        return self._output.read_text()

    @property
    def last(self) -> dict[str, Any]:
        """The latest overview."""
        return self.overviews()[-1]

    def crowds(self) -> list[list[str]]:
        """The VMs that have switched over at one time, where there were more than one; one that runs there already is only watched."""
        at_once = (
            [vm["vm"] for vm in overview["vms"] if vm["state"] == "switching over" and vm.get("phase") != "settle"]
            for overview in self.overviews()
        )
        return [vms for vms in at_once if len(vms) > 1]

    def states(self) -> dict[str, str]:
        """Each VM's latest state; none before the plan is made."""
        found = self.overviews()
        return {vm["vm"]: vm["state"] for vm in found[-1]["vms"]} if found else {}


class Fleet:
    """So many VMs, in a directory each, and the daemons of two destinations; a context manager that ends all of them."""

    def __init__(
        self,
        directory: Path,
        guest: Guest,
        booted: Booted,
        tls: Path,
        count: int,
        plans: Sequence[Plan] = (SMALL,),
        *,
        rate: float = 0,
        hosts: int = 2,
        daemon_options: Sequence[str] = (),
    ) -> None:
        """`plans` are the disks of the VMs, in turn: each VM has one. `rate` is the cable's, in bytes a second; 0: there is none."""
        self.directory, self.tls = directory, tls
        self.pairs: dict[str, Pair] = {}
        self.daemons: list[Twistd] = []
        self.cable: Cable | None = None
        self._rate, self._daemon_options = rate, daemon_options
        self._ports = [free_port() for _ in range(hosts)]
        self._ways = "src", "dst"
        self.runs: list[Run] = []
        self._ended = ExitStack()
        try:
            for number in range(1, count + 1):
                self._add(f"vm{number:02}", guest, booted, plans[number % len(plans)])
            self._lay()
        except BaseException:
            self._ended.close()
            raise

    def _add(self, name: str, guest: Guest, booted: Booted, plan: Plan) -> None:
        (self.directory / "vms" / name).mkdir(parents=True)
        self.pairs[name] = self._ended.enter_context(Pair(self.directory / "vms" / name, guest, [plan], booted=booted))

    def _lay(self) -> None:
        """Start the daemons, and the cable to them."""
        if self._rate:
            self.cable = self._ended.enter_context(Cable(self.directory, *self._ports))
            self.cable.slow(self._rate)
        for number in range(len(self._ports)):
            self.start_daemon(number)

    def tend(self) -> int:
        """Start what waits for a VM again where it has ended, as a service manager does: a QEMU can receive its memory only once."""
        ended = [pair for pair in self.pairs.values() if not pair.destination.running() and pair.source.running()]
        for pair in ended:
            pair.renew_destination()
        return len(ended)

    def turn(self) -> None:
        """All VMs are at their destinations: make these the sources, and a QEMU that waits the destination of each; there is one daemon."""
        for name, pair in self.pairs.items():
            here = zip(pair.source.drives, pair.destination.drives, strict=True)
            pair.destination.drives = tuple(replace(there, disk=was.disk.twin(there.disk.path, there.disk.fmt)) for was, there in here)
            for drive in pair.source.drives:
                drive.disk.make_empty()
            back = Qemu("back", self.directory / "vms" / name, pair.guest, pair.source.drives, incoming=True)
            pair.source, pair.destination = pair.destination, self._ended.enter_context(back)
        for end in (*self.daemons, *([self.cable] if self.cable else [])):
            end.kill()
        self.daemons = []
        self._ports, self._ways = [free_port()], ("dst", "back")
        self._lay()

    def gate(self, vm: str, held: str) -> Gate:
        """Hold a command to the VM's QEMU here back; to be called before it is asked anything."""
        monitor = self.pairs[vm].source.qmp_path
        hidden = monitor.rename(monitor.with_suffix(".own"))
        return self._ended.enter_context(Gate(monitor, hidden, held))

    def start_daemon(self, number: int, way: str = "") -> None:
        """Start the daemon of a destination (again); `way` is the name of the QEMUs that wait there, if it is another one."""
        port = self._ports[number]
        listen = ["--listen", f"tcp:{port}:interface=127.0.0.1", "--vm", f"*={self.directory}/vms/{{vm}}/{way or self._ways[1]}.qmp"]
        options = [*listen, "--tls-dir", f"{self.tls}", "--run-dir", f"{self.directory}/far{number}", *self._daemon_options]
        daemon = self._ended.enter_context(Twistd(self.directory, "nbdtun-dest", *options, name=f"dest{number}"))
        daemon.wait_port(port)
        self.daemons[number:] = [daemon]

    @property
    def to(self) -> list[str]:
        """The destinations, as an operator writes them."""
        ports = self.cable.ports if self.cable else self._ports
        return [f"tcp:127.0.0.1:{port}" for port in ports]

    def options(self, *more: str) -> list[str]:
        """The options of an evacuation of all VMs."""
        to = [word for each in self.to for word in ("--to", each)]
        ends = ["--tls-dir", f"{self.tls}", "--run-dir", f"{self.directory}/run", "--settle", "200ms"]
        return ["--qmp", f"{self.directory}/vms/{{vm}}/{self._ways[0]}.qmp", *to, *ends, *more]

    def run(self, *words: str) -> Run:
        """Run `nbdtun evacuate` with these words."""
        self.runs.append(self._ended.enter_context(Run(self.directory, *words, number=len(self.runs) + 1)))
        return self.runs[-1]

    def evacuate(self, *more: str) -> Run:
        """Begin an evacuation."""
        return self.run(*self.options("--journal", f"{self.journal}", "--progress", "json", *more))

    def resume(self, *more: str) -> Run:
        """Go on with it."""
        return self.run("--resume", "--journal", f"{self.journal}", "--progress", "json", *more)

    def command(self, *words: str) -> str:
        """Run `nbdtun` as from another terminal; what it prints."""
        return subprocess.run([f"{BIN}/nbdtun", *words], capture_output=True, text=True, timeout=60, check=True).stdout

    @property
    def journal(self) -> Path:
        """Where the evacuation's journal is."""
        return self.directory / "evacuation.journal"

    def faults(self, moved: set[str] | None = None) -> list[str]:
        """What is wrong with the VMs: those that have `moved`, all if None, run there, and the others here, each once and whole."""
        found = []
        for name, pair in self.pairs.items():
            there = moved is None or name in moved
            vm = pair.destination if there else pair.source
            if pair.running() != [vm]:
                found.append(f"{name}: it runs {len(pair.running())} times, here {pair.source.state()}, there {pair.destination.state()}")
            elif not vm.ticking():
                found.append(f"{name}: its guest does not tick")
            elif there:
                found += [f"{name}: {line}" for line in pair.faults()]
            else:
                found += [f"{name}: {line}" for line in pair.disturbance()]
        return found

    def __enter__(self) -> Self:
        return self

    def migrations(self, vm: str = "") -> list[int]:
        """The processes that migrate a VM, or any of them."""
        words = f" nbdtun migrate {vm}", f"{self.directory}/vms/{vm}"
        return [pid for pid, command in marked().items() if all(word in command for word in words)]

    def __exit__(self, *_: object) -> None:
        for pid in self.migrations():  # an engine's end is not theirs
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._ended.close()
