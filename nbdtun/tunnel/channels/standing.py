"""
Standing links: those whose peer's certificate has been revoked since the handshake end, soon after the list has changed.

Only the link ends. Its channel may be resumed with another certificate, if the peer has one, for as long as the resume window.
"""

from __future__ import annotations

from nbdtun.errors import TLSError
from nbdtun.tls.trust import Trusting
from nbdtun.tunnel.channels.carried import Carried
from nbdtun.tunnel.runtime.runtime import Runtime

#: Seconds between two looks at the revocation list, while there are channels.
LOOK_SECONDS = 5.0


class StandingLinks:
    """Looks after the links of ``channels`` for ``trust``."""

    def __init__(self, runtime: Runtime, trust: Trusting | None, channels: set[Carried]) -> None:
        self._runtime = runtime
        self._trust = trust
        self._channels = channels
        self._revision = 0
        self._looking = False

    def __repr__(self) -> str:
        return f"<StandingLinks of {len(self._channels)} channels{', looking' if self._looking else ''}>"

    def watch(self) -> None:
        """There is a new channel."""
        if self._trust is not None and not self._looking:
            self._looking = True
            self._runtime.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._looking = False
        if not self._channels or self._trust is None:
            return
        self.watch()
        revision = self._trust.revision()
        if revision != self._revision:
            self._revision = revision
            for channel in tuple(self._channels):
                self._check(channel, self._trust)

    def _check(self, channel: Carried, trust: Trusting) -> None:
        if (presented := channel.presented) is not None:
            try:
                trust.check_again(presented, "the other end")
            except TLSError as revoked:
                channel.cut(revoked)
