"""
The names that a session gives to things, at both ends: targets in the tunnel; nodes, jobs and exports in QEMU.

A session's id is unguessable, and its targets contain it: a peer that does not know the id cannot reach them. In QEMU all our names
begin with one prefix, so that leftovers can be recognised. QEMU's node names have at most 31 characters.
"""

from __future__ import annotations

import re
import secrets

PREFIX = "nbdtun-"
JOURNAL = f"{PREFIX}journal"
SESSION = re.compile(r"[0-9a-f]{32}\Z")


def new_session() -> str:
    """An id of 128 random bits."""
    return secrets.token_hex(16)


def nbd_target(session: str) -> str:
    """The target of all NBD connections of a session."""
    return f"nbd.{session}"


def ram_target(session: str) -> str:
    """The target of a session's migration stream."""
    return f"ram.{session}"


def block_name(session: str, number: int) -> str:
    """The name of the node, the job and the export of a session's disk ``number``."""
    return f"{PREFIX}{session[:16]}-{number}"


def bitmap_name(export: str, number: int) -> str:
    """The name of the copy of a bitmap, with this number on the disk of that ``export``."""
    return f"{export}-{number}"
