"""
Heartbeats: whether a link is alive, and when it has to send a sign of life. Rules only, with a given clock.

A link beats :data:`BEATS` times in its timeout. At a beat, a link that has sent nothing since the last beat sends a PING. A link that has
received nothing for the timeout is dead. A link whose keys do not change by themselves is replaced when they have encrypted enough.
"""

from __future__ import annotations

from collections.abc import Callable

from nbdtun.errors import LinkLost

#: A link sends something at least so many times in its timeout.
BEATS = 3

#: Bytes of an incomplete record that show, from one beat to the next, that a slow link is alive. PINGs alone must not suffice: a record
#: whose length was altered in transit would swallow them for hours.
PROGRESS = 4096

#: Bytes after which a link with new keys is wanted, and after which the old one is given up: AES-GCM keeps its safety margin for 388 GB
#: (RFC 8446, 5.5), and OpenSSL changes no key by itself.
KEYS_SERVE, KEYS_END = 256 << 30, 352 << 30


class Heartbeat:
    """
    The heartbeat of one link, which is dead after ``timeout`` seconds of silence by the clock ``seconds``.

    ``heard`` and ``spoke`` say whether anything was received or sent since the last beat. The link sets them, with each read and frame.
    """

    __slots__ = ("_heard_at", "_keys_since", "_seconds", "_timeout", "heard", "interval", "spoke")

    def __init__(self, timeout: float, seconds: Callable[[], float]) -> None:
        self.heard = self.spoke = True
        self.interval = timeout / BEATS
        self._timeout = timeout
        self._seconds = seconds
        self._heard_at = seconds()
        self._keys_since: int | None = None

    def __repr__(self) -> str:
        return f"<Heartbeat heard={self.heard} spoke={self.spoke}>"

    def watch_keys(self, carried: int) -> None:
        """Count the use of its keys from now on, where its channel has ``carried`` bytes; for the end that can replace the link."""
        self._keys_since = carried

    def trouble(self, partial: int, carried: int, *, closing: bool) -> LinkLost | None:
        """
        Return why the link must be given up at this beat, or None.

        ``partial`` counts the bytes of an incomplete record, ``carried`` those of the channel.

        Data that arrives on a ``closing`` link does not count.
        """
        now = self._seconds()
        if (self.heard or partial >= PROGRESS) and not closing:
            self._heard_at = now
        if now - self._heard_at >= self._timeout:
            return LinkLost(f"nothing was received for {self._timeout:g} s")
        if self._encrypted(carried) >= KEYS_END:
            return LinkLost("its keys have encrypted too much data")
        return None

    def worn(self, carried: int) -> bool:
        """Whether another link should take over, with new keys."""
        return self._encrypted(carried) >= KEYS_SERVE

    def _encrypted(self, carried: int) -> int:
        return 0 if self._keys_since is None else carried - self._keys_since

    def rest(self) -> None:
        """Start the interval until the next beat."""
        self.heard = self.spoke = False
