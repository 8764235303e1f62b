"""
The process's limit of open files: a channel needs two, its link and its local socket.

Systems start daemons with a soft limit of 1024, for the sake of programs that use select(2), and with a hard limit which is much
higher, for others to help themselves (systemd.exec(5), LimitNOFILE=).
"""

from __future__ import annotations

import resource

#: What a daemon has open besides channels and new connections: its log, listeners, monitors, what Python and the reactor need.
OWN = 256


def needed(channels: int, handshakes: int) -> int:
    """How many files a daemon may have open that serves so many; new connections are counted twice, strangers and known ones."""
    return 2 * channels + 2 * handshakes + OWN


def make_room(count: int) -> int:
    """Raise the soft limit so that ``count`` files can be open, as far as the hard limit allows; returns the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= count:
        return soft if soft != resource.RLIM_INFINITY else count
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
