"""
The record of a migration to this host, in a file: after a ``kill -9`` of the far end, the next one knows from it what is whose.

It is written before each step. The most important is the handover: from then on libvirt may let the guest run here. So what has a record
without a handover has never run by it, and can be removed. A record stays after an arrival, so that its source can still ask for the
outcome; the next migration of the domain to this host replaces it.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import frozen

from nbdtun.errors import ProtocolViolation
from nbdtun.kept import Kept
from nbdtun.migration.bond import Bond
from nbdtun.spawn.content import identity

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SUFFIX: Final = ".arrival"


@frozen
class Made:
    """
    An image that was made, in the storage pool of that name (empty: in none), as the kernel knows it: a file's ``device`` and ``inode``, a
    block device's ``identity``. Before it is made they are all empty.
    """

    path: str
    pool: str = ""
    device: int = 0
    inode: int = 0
    identity: str = ""

    @property
    def is_there(self) -> bool:
        """Whether the one at its path is still the one that was made."""
        with suppress(OSError):
            found = os.stat(self.path)
            if self.identity:
                return identity(found.st_rdev) == self.identity
            return bool(self.inode) and (found.st_dev, found.st_ino) == (self.device, self.inode)
        return False


@frozen
class Begun:
    """
    A migration that was begun here: of the domain with this ``uuid`` and ``name``, by a ``session`` that is bound to its source by
    ``owner`` and ``proof`` (:class:`~nbdtun.migration.bond.Bond`).

    ``maker`` is the process that works on it (:func:`~nbdtun.migration.rollback.presence.identity`). It has made the ``directory`` for
    sockets, ``folders`` for images, and ``images``. ``left`` are files that libvirt makes, where there were none. ``handed_over``:
    libvirt may have been told to let the guest run. ``answered``: it has said that it does. ``arrived``: it has run, and all that was made
    stays; ``doubtful``: or it may have.
    """

    uuid: str
    name: str
    session: str
    owner: str = ""
    proof: str = ""
    maker: str = ""
    directory: str = ""
    folders: tuple[str, ...] = ()
    images: tuple[Made, ...] = ()
    left: tuple[str, ...] = ()
    handed_over: bool = False
    answered: bool = False
    arrived: bool = False
    doubtful: bool = False

    @property
    def bond(self) -> Bond:
        """What its source has to show."""
        return Bond(self.owner, self.proof)


def record(state: Path, uuid: str) -> Kept[Begun]:
    """
    The record of the domain with this UUID, in the directory ``state``.

    :raise ProtocolViolation: it is no UUID, which names a file.
    """
    if not _UUID.fullmatch(uuid):
        raise ProtocolViolation("a domain's UUID is none")
    return Kept(state / f"{uuid}{_SUFFIX}", Begun)


def recorded(state: Path) -> list[str]:
    """The UUIDs of all domains that have a record there."""
    return sorted(path.stem for path in state.glob(f"*{_SUFFIX}") if _UUID.fullmatch(path.stem))
