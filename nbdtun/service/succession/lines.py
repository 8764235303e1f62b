"""
The line between two processes that are not next to each other: for the time when the one between them was killed.

The one between makes it, and gives each its end. Until then nobody uses it.
"""

from __future__ import annotations

import socket

from nbdtun.deferreds import together
from nbdtun.service.succession.commands import Elder, Heir
from nbdtun.service.succession.earlier import Earlier
from nbdtun.service.succession.later import Later


async def introduce(earlier: Earlier, later: Later) -> None:
    """
    Make a line between the processes before and after this one.

    :raise NbdtunError: one of them does not take it, as an older release.
    :raise OSError: there are no descriptors for it.
    """
    before, after = socket.socketpair()
    with before, after:  # they stay open until they are sent, which the answers prove
        await together(
            earlier.ask(Heir, seconds=None, sock=before.fileno()), later.ask(Elder, seconds=None, pid=earlier.pid, sock=after.fileno())
        )
