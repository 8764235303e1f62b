"""The settings of a migration, and how long each of its steps may take: frozen, made once, passed down unchanged."""

from __future__ import annotations

import enum
import math
from typing import Final

from attrs import field, frozen, validators

from nbdtun.errors import ConfigError
from nbdtun.migration.timeouts import Timeouts
from nbdtun.units import duration_text
from nbdtun.validators import between, positive


@frozen(kw_only=True)
class StepTimeouts:
    """
    How long a step may take, in seconds, before it counts as failed. No wait is without a limit.

    Waits that last as long as the data does have their limits in :class:`~nbdtun.migration.timeouts.Timeouts`, which an operator sets.
    The polling for progress notices a QEMU that no longer answers, within ``command``.
    """

    #: QEMU's answer to the polling for progress: a QEMU that is silent for longer counts as hanging.
    command: float = field(default=60.0, validator=positive())
    #: A disk's connection to the destination, for which QEMU and its guest wait.
    connect: float = field(default=20.0, validator=positive())
    #: The other end's answer to one of our commands.
    answer: float = field(default=90.0, validator=positive())
    #: The device state's arrival at the destination, while the guest is paused.
    complete: float = field(default=120.0, validator=positive())
    #: Each step of a rollback.
    undo: float = field(default=30.0, validator=positive())
    #: The other end's answer to an abort, less than ``undo``. Without an answer, that end aborts when the channel is lost.
    farewell: float = field(default=20.0, validator=positive())
    #: Repeated questions for an outcome whose answer was lost.
    settle: float = field(default=60.0, validator=positive())


class Strategy(enum.Enum):
    """A way to help a migration converge: see :mod:`nbdtun.migration.supervision.convergence`."""

    WRITE_BLOCKING = "write-blocking"
    AUTO_CONVERGE = "auto-converge"
    DOWNTIME = "downtime"


class Belonging(enum.Enum):
    """Parts of an image that a migration leaves behind: see :mod:`nbdtun.migration.vm.belongings`."""

    SNAPSHOTS = "snapshots"
    BITMAPS = "bitmaps"


#: QEMU's limit for the connections of the memory beside the main one.
MAX_CONNECTIONS: Final = 255
#: A switchover that waits until an operator says so.
HOLD: Final = math.inf


@frozen(kw_only=True)
class MigrationSettings:
    """
    One migration, as requested.

    ``vm`` is the destination's name for the VM. ``disks`` names the disks to copy (by node, by drive id or by device id), None for all
    writable ones. ``bandwidth`` is in bytes per second, for the disks together and then for the memory, None for no limit.
    ``connections`` is how many the memory has beside the main one. ``downtime`` is QEMU's goal, in seconds. ``converge`` are the strategies
    for a guest that changes faster than it can be copied; the strategy ``downtime`` raises the downtime, up to ``max_downtime``.
    ``timeouts`` limits how long it may last. ``switchover`` is the time before which the guest is not switched over, in seconds since the
    epoch; :data:`HOLD` is for a word. ``leave_behind`` is what may be lost of the disks' images besides their contents. ``keep_source``
    leaves the source QEMU paused instead of ending it. ``settle`` is how many seconds the guest is watched at the destination before the
    source QEMU is ended, 0 for not at all. ``allowed`` are the names of differences between the two machines that do not prevent a
    migration.
    ``reconnect_delay`` is how many seconds QEMU holds a disk's requests back when its NBD connection breaks, and dials again. If the
    connection breaks while QEMU pauses the guest to hand over, the whole QEMU stands still for so long, and does not answer its monitor:
    it drains its disks then.

    :raise ConfigError: a value is out of its range.
    """

    vm: str = field(validator=validators.instance_of(str))
    disks: tuple[str, ...] | None = None
    bandwidth: int | None = field(default=None, validator=positive())
    connections: int = field(default=0, validator=between(0, MAX_CONNECTIONS, str))
    downtime: float = field(default=0.3, validator=positive())
    converge: frozenset[Strategy] = frozenset()
    max_downtime: float = field(default=5.0, validator=positive())
    timeouts: Timeouts = field(factory=Timeouts)
    switchover: float = 0.0
    leave_behind: frozenset[Belonging] = frozenset()
    keep_source: bool = False
    settle: float = field(default=2.0, validator=between(0, 600, duration_text))
    allowed: tuple[str, ...] = ()
    reconnect_delay: int = field(default=10, validator=positive())
    steps: StepTimeouts = field(factory=StepTimeouts)

    def __attrs_post_init__(self) -> None:
        if Strategy.DOWNTIME in self.converge and self.max_downtime <= self.downtime:
            raise ConfigError(f"max downtime, {self.max_downtime:g} s, must exceed the downtime, {self.downtime:g} s")
