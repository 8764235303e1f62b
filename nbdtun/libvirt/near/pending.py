"""
A handover whose outcome its source does not know yet, in a file: it outlives the process that hands over, and the one beside that.

It is written before the destination is told to let the guest run, and erased once it is known where the guest runs. So the next command
finds it: no second migration begins, and ``--resolve`` knows the session without being told.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from attrs import frozen

from nbdtun.errors import OutcomeUnknown
from nbdtun.kept import Kept
from nbdtun.migration.rollback.presence import lives, pid_of

_SUFFIX: Final = ".handover"

#: How a handover has ended.
MOVED, STAYED = "moved", "stayed"


@frozen
class Pending:
    """
    The handover of the domain with this ``uuid`` and ``name`` in a ``session``, with the ``secret`` (in hexadecimal) that proves it.

    ``runs``: its guest did. ``holder`` is the process that keeps libvirt waiting for the outcome, as
    :func:`~nbdtun.migration.rollback.presence.identity` has it. ``ended`` is how that one has ended it: :data:`MOVED`, :data:`STAYED`;
    empty: not yet.
    """

    uuid: str
    name: str
    session: str
    secret: str = ""
    runs: bool = True
    holder: str = ""
    ended: str = ""

    @property
    def is_held(self) -> bool:
        """Whether another process that lives keeps libvirt waiting."""
        return self.pid != os.getpid() and lives(self.holder)

    @property
    def pid(self) -> int:
        """The process id of the holder; 0: there is none."""
        return pid_of(self.holder)


class Handover(Kept[Pending]):
    """The record at ``path``. One that cannot be read is an unknown outcome, too."""

    unreadable = OutcomeUnknown

    def __init__(self, path: Path) -> None:
        super().__init__(path, Pending)


def pending(state: Path, uuid: str) -> Handover:
    """The record of the domain with this UUID, in the directory ``state``."""
    return Handover(state / f"{uuid}{_SUFFIX}")


def pending_of(state: Path, name: str) -> Handover | None:
    """
    The record of the domain of this name, whose UUID is not known any more; None if there is none.

    :raise OutcomeUnknown: none was found, and one that may be it cannot be read.
    """
    odd: OutcomeUnknown | None = None
    for path in sorted(state.glob(f"*{_SUFFIX}")):
        kept = Handover(path)
        try:
            found = kept.read()
        except OutcomeUnknown as error:
            odd = odd or error
            continue
        if found is not None and found.name == name:
            return kept
    if odd is not None:
        raise odd
    return None
