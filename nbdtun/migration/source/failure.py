"""The error of a failed migration, as its operator reads it."""

from __future__ import annotations

from collections.abc import Sequence

from nbdtun.errors import DestinationFailed, MigrationError, MirrorFailed, NbdtunError


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
