"""One cell of the table of libvirt's VMs: two hosts, a sluice before each libvirtd, and a migration that has come to a phase."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from lab.cable import Cable
from lab.disks import MIB
from lab.libvirt import Host, Inside
from lab.libvirt_way import PATIENT, Migrating, Way
from lab.sluice import CALL, FINISH, PREPARE, REPLY, Sluice

SLOW = 3 * MIB
"""Bytes a second that let disks and memory last."""
UNDER_WAY = 2 * MIB
"""So much has passed when they are met."""

HELD = {"prepare": (PREPARE, CALL), "handover": (FINISH, CALL), "arrival": (FINISH, REPLY)}
"""What is held back before the destination's libvirtd, or by it."""


@dataclass
class Cell:
    """What a fault may strike at, and what the verdict looks at."""

    way: Way
    phase: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        self.here, self.there = self.way.ends
        self._attempts: list[Migrating] = []

    @property
    def attempt(self) -> Migrating:
        """The latest migration."""
        return self._attempts[-1]

    @property
    def cable(self) -> Cable:
        return self.way.cables[self.there.name]

    @property
    def daemon(self) -> Inside:
        return self.way.daemons[self.there.name]

    @property
    def sluice(self) -> Sluice:
        return self.way.sluices[self.there.name]

    @property
    def hosts(self) -> tuple[Host, Host]:
        return self.here, self.there

    def serve(self) -> None:
        """Start the destination's daemon again."""
        self.way.serve(self.there)

    def begin(self, *options: str, tidy: bool = False) -> Migrating:
        """Begin a migration; `tidy` removes the destination's images first."""
        self._attempts.append(self.way.stack.enter_context(self.way.migrate(*self.options, *options, tidy=tidy)))
        return self.attempt

    def reach(self) -> None:
        """Begin one, and come to the middle of the phase."""
        held = HELD.get(self.phase)
        if held is not None:
            self.sluice.hold(*held)
        else:
            self.cable.slow(SLOW)
        attempt = self.begin(tidy=True)
        if held is not None:
            self.sluice.wait_held(PATIENT, attempt)
        else:
            attempt.wait_phase(self.phase, PATIENT)
            self.cable.wait_bytes(UNDER_WAY, PATIENT)

    def open(self) -> None:
        """Hold nothing up any more."""
        self.sluice.open()
        if self.phase not in HELD:
            self.cable.slow(100 * MIB)

    def both_run(self) -> bool:
        """Whether there are two running copies."""
        return all("running" in host.virsh("list") for host in self.hosts)

    def kill(self, pid: int) -> None:
        """Have a process at the source end, by its id there."""
        subprocess.run([*self.here.enter, "kill", f"{pid}"], check=True)
