"""
Descriptors that cross with a message (SCM_RIGHTS), each told by its device and inode.

AMP tells them by their order. But a process that has no descriptor left does not get one, and the kernel tells nobody but the flags of
recvmsg(2) (``MSG_CTRUNC``), which Twisted keeps to itself. AMP would give every later message the descriptor of another one then.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO

from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from nbdtun.amp import Refused
from nbdtun.dialogue import Dialogue


def in_memory(data: bytes) -> BinaryIO:
    """
    Return a file that has ``data``, for a message whose field would be too small for it.

    :raise OSError: there is no descriptor, or no memory, for it.
    """
    file = os.fdopen(os.memfd_create("nbdtun"), "w+b")
    file.write(data)
    file.seek(0)
    return file


def _inode(descriptor: int) -> bytes:
    """What tells its file from all others: sockets and files in memory count their inodes apart."""
    found = os.fstat(descriptor)
    return b"%d:%d" % (found.st_dev, found.st_ino)


class Crossing(amp.Argument):
    """A descriptor; whoever gets it must close it."""

    def toStringProto(self, descriptor: int, proto: Any) -> bytes:
        """Send it ahead of its message."""
        proto.transport.sendFileDescriptor(descriptor)
        return _inode(descriptor)

    def fromStringProto(self, text: bytes, proto: Any) -> int:
        """Find it among those that have arrived."""
        try:
            found: int = proto.arrived.pop(text)
        except KeyError:
            raise Refused("its descriptor has not arrived: that process has no descriptor left for it") from None
        return found


class Crossed(Dialogue):
    """A dialogue over which descriptors cross; ``arrived`` has them by their inodes, until their messages are read."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.arrived: dict[bytes, int] = {}

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Keep it until its message has come."""
        self.arrived[_inode(descriptor)] = descriptor

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Close those whose messages have not come."""
        while self.arrived:
            os.close(self.arrived.popitem()[1])
        super().connectionLost(reason)
