"""How to stop in the middle of a phase, for as long as a fault needs: a command is held back before a monitor, or the cable is slow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lab.disks import MIB

SLOW = 12 * MIB
"""Bytes a second that let disks and memory last."""

UNDER_WAY = 4 * MIB
"""So much has passed when they are met."""


@dataclass(frozen=True)
class Held:
    """A QMP command, and at which end it is held back."""

    end: Literal["source", "destination"]
    command: str
    nth: int = 1
    """So many of them have come."""


@dataclass(frozen=True)
class Phase:
    """`slow`: what is copied meanwhile lasts because the cable is slow, from when `held` is let pass."""

    name: str
    held: Held | None = None
    slow: bool = False
    reported: str = ""
    """The phase that the command reports, if it has another name."""
    settle: str = "200ms"
    """How long the guest is watched at the destination: so long does that phase last."""

    held_back: bool = False
    """It is held by `--hold`, and let go if it is to move; its VM has enough memory to stop within."""

    logged: str = ""
    """What the destination's daemon has logged by then, as a pattern."""

    @property
    def word(self) -> str:
        return self.reported or self.name


PHASES = (
    Phase("prepare", Held("destination", "nbd-server-start")),
    Phase("mirror", slow=True),
    Phase("ready", Held("destination", "migrate-incoming")),
    Phase("ram", Held("destination", "migrate-incoming"), slow=True),
    Phase("holding", held_back=True),
    Phase("pre-switchover", Held("source", "block-job-cancel"), reported="switchover"),
    Phase("switchover", Held("source", "migrate-continue")),
    # Nothing passes that comes behind it. So the memory is there, and the disks' connections stand; the handover is not recorded either.
    Phase("yank", Held("source", "yank"), reported="switchover", logged=r"channel ram\S* \S+ is complete"),
    # The journal's fourth change is that the VM is handed over. The destination's QEMU has all of its memory by then, and has closed.
    Phase("handover", Held("source", "qom-set", 4), reported="switchover", logged=r"channel ram\S* \S+ is complete"),
    # FINISH has come, and the disks are still served: as little of the arrival is over as the source may know.
    Phase("retire", Held("destination", "nbd-server-stop"), reported="finish"),
    Phase("finish", Held("destination", "cont")),
    Phase("settle", settle="10s"),
    Phase("confirm", Held("source", "quit"), reported="settle"),
)
