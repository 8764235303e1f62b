"""
The connections of an NBD server: how many there are the kernel tells, as QEMU does not.

A connection is there from when its client connects until the server has closed it, however long ago the client has gone.
"""

from __future__ import annotations

from pathlib import Path

_TABLE = Path("/proc/self/net/unix")  # of this network namespace: a connection belongs to its client's, wherever the server is
_LISTENS = "00010000"  # __SO_ACCEPTCON in the column "Flags"; see unix_seq_show() in the kernel's net/unix/af_unix.c


def connections(path: str) -> int:
    """
    How many connections to the UNIX socket ``path``, made in this network namespace, its server has not closed.

    None are seen where the kernel's table cannot be read.
    """
    try:
        table = _TABLE.read_text(errors="surrogateescape")
    except OSError:
        return 0
    rows = (row.split(maxsplit=7) for row in table.splitlines() if row.endswith(path))
    return sum(row[7:] == [path] and row[3] != _LISTENS for row in rows)
