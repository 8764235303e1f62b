"""
Each wait of a migration: what is waited for, for how long at most, and what else ends it. Printed by ``docs/waits``, as a table.

A wait of the way forward can be ended at any moment: by a limit of time (:mod:`~nbdtun.migration.timeouts`), by the operator, and by the
loss of a monitor or of the control channel. The waits of a roll-back, and those after the handover, only have limits of their own: an
interrupted roll-back would leave both machines in a bad state, and the handover cannot be taken back.

``tests/migration/test_waits.py`` hangs each of them and ends it in each way; ``tests/integration/test_waits.py`` does so with real QEMUs.
"""

from __future__ import annotations

import enum
from typing import Final

from attrs import frozen

from nbdtun.migration.progress import Phase
from nbdtun.migration.settings import StepTimeouts
from nbdtun.migration.source.session_client import DIAGNOSIS_SECONDS, LOST_SECONDS
from nbdtun.migration.timeouts import DEFAULTS
from nbdtun.migration.vm.exports import LEAVING_SECONDS
from nbdtun.migration.vm.mirror import YANK_SECONDS
from nbdtun.units import duration_text


class Ender(enum.Enum):
    """What ends a wait before its own limit."""

    PHASE = "--timeout PHASE="
    TOTAL = "--timeout"
    STALL = "--stall-timeout"
    OPERATOR = "Ctrl-C, SIGTERM, nbdtun cancel"
    MONITOR = "the loss of the source's monitor"
    CONTROL = "the loss of the control channel"


_FORWARD: Final = frozenset(Ender) - {Ender.STALL}
_COPYING: Final = frozenset(Ender)


@frozen
class Wait:
    """
    One wait, in ``phases``, none for those that belong to no phase.

    ``bound`` is its own limit in seconds, None where it ``lasts`` and only its phase's limit and the stall bound it; ``enders`` end it
    earlier.
    """

    name: str
    what: str
    bound: float | None
    phases: tuple[Phase, ...] = ()
    enders: frozenset[Ender] = frozenset()
    lasts: str = "as long as bytes move"

    @property
    def limit(self) -> str:
        """Its bound, for a reader."""
        if self.bound is not None:
            return duration_text(self.bound)
        limits = {phase.value: DEFAULTS[phase] for phase in self.phases}
        return ", ".join(f"{name}: {self.lasts if limit is None else duration_text(limit)}" for name, limit in limits.items())

    @property
    def ended_by(self) -> str:
        """What ends it earlier, for a reader."""
        if self.enders >= _FORWARD:
            return "everything" if Ender.STALL in self.enders else f"everything but {Ender.STALL.value}"
        return ", ".join(each.value for each in Ender if each in self.enders) or "nothing"


def _step(name: str) -> float:
    return float(getattr(StepTimeouts(), name))


_HELD: Final = frozenset({Ender.PHASE, Ender.OPERATOR, Ender.MONITOR, Ender.CONTROL})
_PREPARE, _MIRROR, _READY, _RAM, _SWITCHOVER = Phase.PREPARE, Phase.MIRROR, Phase.READY, Phase.RAM, Phase.SWITCHOVER

WAITS: Final = (
    Wait("control", "the first link of the control channel", _step("answer"), (_PREPARE,), _FORWARD - {Ender.CONTROL}),
    Wait("command", "QEMU's answer to a command at the source", _step("command"), (_PREPARE, _MIRROR, _READY, _RAM, _SWITCHOVER), _FORWARD),
    Wait("answer", "the destination's answer, and that of its QEMU", _step("answer"), (_PREPARE, _READY), _FORWARD),
    Wait("connect", "a disk's connection to the destination", _step("connect"), (_MIRROR,), _COPYING),
    Wait("sync", "the disks, until they are in sync", None, (_MIRROR,), _COPYING),
    Wait("moment", "the moment of the switchover", None, (Phase.HOLDING,), _HELD, "as long as its operator wants"),
    Wait("memory", "the memory, until the guest is paused", None, (_RAM,), _COPYING),
    Wait("writes", "the disks' last writes", None, (_SWITCHOVER,), _COPYING),
    Wait("state", "the last of the memory and the devices' state", None, (_SWITCHOVER,), _COPYING),
    Wait("arrival", "the memory's arrival at the destination", None, (_SWITCHOVER,), _COPYING),
    Wait("finish", "the answer to FINISH", _step("complete") + _step("answer"), (Phase.FINISH,), frozenset({Ender.CONTROL})),
    Wait("settle", "the outcome, asked for again after a lost answer", _step("settle"), (Phase.FINISH,)),
    Wait("undo", "each step of a roll-back, at either end", _step("undo")),
    Wait("yank", "QEMU's answer to ``yank``", YANK_SECONDS),
    Wait("diagnosis", "the destination's reason for a failure", DIAGNOSIS_SECONDS),
    Wait("farewell", "the answer to ABORT", _step("farewell"), (), frozenset({Ender.CONTROL})),
    Wait("lost", "either of these two, while the link is lost", LOST_SECONDS),
    Wait("leaving", "the NBD clients of the destination's QEMU, before its server is stopped", LEAVING_SECONDS),
)
