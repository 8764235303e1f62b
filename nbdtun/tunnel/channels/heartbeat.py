"""
Heartbeats: whether a link lives, and when it has to say that it does. Rules only, with a given clock.

A link beats :data:`BEATS` times in its timeout. At a beat, one that has said nothing since the last says PING; one that has heard nothing
for the timeout is dead; and one whose keys are worn is given up for another with new ones.
"""

from __future__ import annotations

from collections.abc import Callable

from nbdtun.errors import LinkLost

#: A link speaks at least so many times in its timeout.
BEATS = 3

#: Bytes of a record that is not whole which tell, from one beat to the next, that a slow link is alive. PINGs alone must not: a record
#: whose length was changed on its way would swallow them for hours.
PROGRESS = 4096

#: Bytes that a link's keys encrypt at most: AES-GCM keeps its margin for 388 GB (RFC 8446, 5.5), and OpenSSL makes no new keys by itself.
KEYS_SERVE = 256 << 30


class Heartbeat:
    """
    The heartbeat of one link, which is dead after ``timeout`` seconds of silence by the clock ``seconds``.

    ``heard`` and ``spoke`` tell what there was since the last beat. The link sets them itself, with each read and each frame.
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
        """Its keys are new, at so many bytes of its channel, and it is this end that can replace it."""
        self._keys_since = carried

    def trouble(self, partial: int, carried: int, *, closing: bool) -> LinkLost | None:
        """
        Why the link is to be given up at this beat, if it is. It has ``partial`` bytes of a record, its channel has ``carried`` so many.

        What comes on a link that is ``closing`` counts no more.
        """
        now = self._seconds()
        if (self.heard or partial >= PROGRESS) and not closing:
            self._heard_at = now
        if now - self._heard_at >= self._timeout:
            return LinkLost(f"nothing was received for {self._timeout:g} s")
        if self._keys_since is not None and carried - self._keys_since >= KEYS_SERVE:
            return LinkLost("its keys have encrypted enough data")
        return None

    def rest(self) -> None:
        """Until the next beat."""
        self.heard = self.spoke = False
