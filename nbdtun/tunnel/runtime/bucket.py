"""
The bucket of a throttle: the moment at which it is, or was, empty. Several processes of one daemon can have one bucket together.

Theirs is eight bytes of memory without a name (memfd_create(2)), whose descriptor they pass on. Their clock is the machine's monotonic one,
which is the same in all of them. A record lock (fcntl(2)) keeps each change whole; the kernel frees that of a process that is killed.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from typing import Final

_MOMENT: Final = struct.Struct("d")


class Bucket:
    """This process's own."""

    def __init__(self, until: float = 0.0) -> None:
        self._until = until

    def spend(self, seconds: float, least: float) -> float:
        """Spend so many seconds' worth, of what has come since ``least`` at most; return the moment at which it is empty then."""
        self._until = max(self._until, least) + seconds
        return self._until

    def empty(self, now: float) -> None:
        """It is empty now."""
        self._until = now


class SharedBucket(Bucket):
    """One of several processes, behind ``descriptor``, which it owns."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self.descriptor = descriptor
        self._page = mmap.mmap(descriptor, _MOMENT.size)

    @classmethod
    def make(cls, until: float) -> SharedBucket:
        """
        Make one that is empty at ``until``.

        :raise OSError: there is no memory, or no descriptor, for it.
        """
        descriptor = os.memfd_create("nbdtun-bandwidth", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, _MOMENT.size)
        made = cls(descriptor)
        made.empty(until)
        return made

    def spend(self, seconds: float, least: float) -> float:
        """See :meth:`Bucket.spend`; for all processes together."""
        fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
        try:
            until: float = max(_MOMENT.unpack_from(self._page)[0], least) + seconds
            _MOMENT.pack_into(self._page, 0, until)
        finally:
            fcntl.lockf(self.descriptor, fcntl.LOCK_UN)
        return until

    def empty(self, now: float) -> None:
        """See :meth:`Bucket.empty`."""
        _MOMENT.pack_into(self._page, 0, now)

    def close(self) -> None:
        """Give it up here."""
        self._page.close()
        os.close(self.descriptor)
