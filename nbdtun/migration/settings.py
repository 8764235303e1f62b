"""What is asked of a migration, and how long each of its steps may take: frozen, made once, passed down unchanged."""

from __future__ import annotations

import enum

from attrs import field, frozen, validators

from nbdtun.errors import ConfigError
from nbdtun.migration.timeouts import Timeouts
from nbdtun.validators import positive


@frozen(kw_only=True)
class StepTimeouts:
    """
    How long a step may take, in seconds, before it counts as failed. No wait is without one.

    What lasts as long as the data does has its limits in :class:`~nbdtun.migration.timeouts.Timeouts`, which an operator sets.
    A QEMU that no longer answers is noticed by the polling for progress, within ``command``.
    """

    #: An answer of QEMU's monitor to the polling for progress: a QEMU that is silent for longer counts as hanging.
    command: float = field(default=60.0, validator=positive())
    #: A disk's connection to the destination, for which QEMU and its guest wait.
    connect: float = field(default=20.0, validator=positive())
    #: An answer of the other end to one of our commands.
    answer: float = field(default=90.0, validator=positive())
    #: The device state's arrival at the destination, while the guest is paused.
    complete: float = field(default=120.0, validator=positive())
    #: Each step of a rollback.
    undo: float = field(default=30.0, validator=positive())
    #: The other end's answer to an abort, less than ``undo``; without it, it aborts by itself when the channel is lost.
    farewell: float = field(default=20.0, validator=positive())
    #: Asking again for an outcome whose answer was lost.
    settle: float = field(default=60.0, validator=positive())


class Strategy(enum.Enum):
    """What can help a migration to converge: see :mod:`nbdtun.migration.supervision.convergence`."""

    WRITE_BLOCKING = "write-blocking"
    AUTO_CONVERGE = "auto-converge"
    DOWNTIME = "downtime"


class Belonging(enum.Enum):
    """What an image may have besides its content, and a migration leaves behind: see :mod:`nbdtun.migration.vm.belongings`."""

    SNAPSHOTS = "snapshots"
    BITMAPS = "bitmaps"


@frozen(kw_only=True)
class MigrationSettings:
    """
    One migration, as asked for.

    ``vm`` is the name which the destination knows the VM by. ``disks`` names the disks to copy (by node, by drive id or by device
    id), None all writable ones. ``bandwidth`` is in bytes per second, for the disks together and then for the memory, None without
    a limit. ``downtime`` is what QEMU aims at, in seconds. ``converge`` says what is done when the guest changes faster than it can be
    copied; its strategy ``downtime`` raises the downtime, up to ``max_downtime``. ``timeouts`` says how long it may last.
    ``leave_behind`` says what may be lost that the disks' images have besides their contents. ``keep_source`` leaves the source QEMU
    paused instead of ending it. ``allowed`` are the names of differences between the two machines which are not to keep it from being
    begun.
    ``reconnect_delay`` is for how many seconds QEMU holds a disk's requests back when its NBD connection breaks, and dials again. For so
    long the whole QEMU stands still, deaf to its monitor, if that happens while it pauses the guest to hand over: it drains its disks then.

    :raise ConfigError: a value is out of its range.
    """

    vm: str = field(validator=validators.instance_of(str))
    disks: tuple[str, ...] | None = None
    bandwidth: int | None = field(default=None, validator=positive())
    downtime: float = field(default=0.3, validator=positive())
    converge: frozenset[Strategy] = frozenset()
    max_downtime: float = field(default=5.0, validator=positive())
    timeouts: Timeouts = field(factory=Timeouts)
    leave_behind: frozenset[Belonging] = frozenset()
    keep_source: bool = False
    allowed: tuple[str, ...] = ()
    reconnect_delay: int = field(default=10, validator=positive())
    steps: StepTimeouts = field(factory=StepTimeouts)

    def __attrs_post_init__(self) -> None:
        if Strategy.DOWNTIME in self.converge and self.max_downtime <= self.downtime:
            raise ConfigError(f"max downtime, {self.max_downtime:g} s, must exceed the downtime, {self.downtime:g} s")
