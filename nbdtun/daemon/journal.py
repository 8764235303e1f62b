"""
systemd's journal, whose entries have fields: those of an event stand beside its message, as ``NBDTUN_VM`` and the like.

An entry is one datagram of its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): lines of ``KEY=value``; where a value has line breaks,
the key, its length as eight bytes, the least significant first, and the value. A service whose standard error leads to the journal has the
device and inode of that stream in ``JOURNAL_STREAM`` (systemd.exec(5)).
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Final, TextIO

from nbdtun.logs import KEYS

if TYPE_CHECKING:
    from twisted.logger import LogEvent

SOCKET: Final = "/run/systemd/journal/socket"


def journal_of(stream: TextIO) -> Journal | None:
    """The journal, if ``stream`` leads there."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file
        return None
    return Journal() if os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}" else None


class Journal:
    """The journal that listens at ``address``."""

    def __init__(self, address: str = SOCKET) -> None:
        self._address = address

    def send(self, event: LogEvent, text: str, priority: int) -> bool:
        """Write an entry; returns whether that could be done: journald may not run, and an entry may be too large for a datagram."""
        fields = {"MESSAGE": text, "PRIORITY": priority, "SYSLOG_IDENTIFIER": "nbdtun", "NBDTUN_SOURCE": event.get("log_namespace", "")}
        fields |= {f"NBDTUN_{key.upper()}": event[key] for key in KEYS if event.get(key) not in (None, "")}
        entry = b"".join(_field(name, f"{value}") for name, value in fields.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendto(entry, self._address)
            except OSError:
                return False
        return True


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")
    if b"\n" not in data:
        return f"{name}=".encode() + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
