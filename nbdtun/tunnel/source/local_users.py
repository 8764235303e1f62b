"""
Local users: the channels that programs of this host have opened through a source's sockets, within limits.

Anybody who can connect to a socket gets a channel, which takes descriptors and memory here, and a channel of the destination's. So one user
must not get all of them. The kernel tells which user has connected to a UNIX socket; the clients of TCP ports count as one user.
"""

from __future__ import annotations

import socket
from collections import Counter

from nbdtun.errors import TooManyChannels
from nbdtun.ownership.reach import caller
from nbdtun.tunnel.settings import LocalLimits, Usage


class LocalUsers:
    """
    Counts channels, from the moment at which they begin to be opened. ``limits`` may change; what is above them stays.

    ``here`` has those of each user; ``elsewhere`` those in other processes of the same daemon, for which the limits hold as well.
    """

    def __init__(self, limits: LocalLimits) -> None:
        self.limits = limits
        self.here: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"<LocalUsers {dict(self.here)}>"

    @property
    def usage(self) -> Usage:
        """How much of each limit is used."""
        busiest, limits = max(self.here.values(), default=0), self.limits
        return {"max-channels": (self.here.total(), limits.channels), "max-channels-per-user": (busiest, limits.channels_per_user)}

    def enter(self, sock: socket.socket) -> str:
        """
        A program has connected: return its user, to :meth:`leave` with when its channel has ended.

        :raise TooManyChannels: a limit is reached.
        """
        user = f"uid {caller(sock)}" if sock.family == socket.AF_UNIX else "TCP clients"
        limits = self.limits
        if self.here.total() + self.elsewhere.total() >= limits.channels:
            raise TooManyChannels(f"{user}: this source has reached its limit of {limits.channels} channels (--max-channels)")
        if self.here[user] + self.elsewhere[user] >= limits.channels_per_user:
            most = f"{limits.channels_per_user} channels for one local user (--max-channels-per-user)"
            raise TooManyChannels(f"{user}: this source has reached its limit of {most}")
        self.here[user] += 1
        return user

    def leave(self, user: str) -> None:
        """A channel has ended, or could not be opened."""
        self.here[user] -= 1
        if not self.here[user]:
            del self.here[user]
