"""The error of a failed migration, as its operator reads it."""

from __future__ import annotations

from collections.abc import Sequence

from nbdtun.errors import DestinationFailed, MigrationError, MirrorFailed, NbdtunError
from nbdtun.migration.qmp.dial import is_served
from nbdtun.migration.qmp.monitor import Monitor


def failure_of(cause: BaseException, diagnosis: str, left: Sequence[str]) -> NbdtunError:
    """
    Return the error that has the ``cause``, the destination's ``diagnosis`` if it says more, and what is ``left`` undone.

    A destination that has undone its session by itself has cut off the disks. Then that is the cause, though a disk's failure may be heard
    of first.
    """
    if not isinstance(cause, NbdtunError):
        return MigrationError("; ".join([f"a bug in nbdtun: {cause!r}", *left]))
    if diagnosis and isinstance(cause, MirrorFailed):
        return DestinationFailed("; ".join([diagnosis, *left]))
    found = [f"at the destination: {diagnosis}"] if diagnosis and diagnosis not in str(cause) else []
    return type(cause)("; ".join([str(cause), *found, *left])) if found or left else cause


def out_of_touch(monitor: Monitor, renewed: bool) -> list[str]:
    """
    A line for a roll-back without a monitor, if its QEMU may live: another client may have taken it, as soon as it was free.

    ``renewed`` is whether there is one. A QEMU that has ended keeps nothing.
    """
    if renewed or not is_served(monitor.path):
        return []
    what = f"could not connect to {monitor.path} again: nothing was undone in its QEMU, and the guest may stand still"
    return [f"{what}; free that monitor, then run `nbdtun migrate --recover`"]
