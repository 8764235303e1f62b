"""What a daemon does now, in a few words, as ``systemctl status`` shows it: ``2 VMs arriving, 1.1 GiB/s``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nbdtun.service.local.waiting import listed
from nbdtun.tunnel.channels.ledger import Ledger
from nbdtun.units import rate_text


class Pace:
    """The speed of all channels of a ``ledger`` together, in both directions, between two looks at them; ``clock`` returns seconds."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._looked, self._carried = clock(), 0

    def look(self) -> float:
        """Bytes per second since the last look."""
        now, whole = self._clock(), self._ledger.whole
        seconds, carried = now - self._looked, whole.sent + whole.received - self._carried
        self._looked, self._carried = now, whole.sent + whole.received
        return carried / seconds if seconds > 0 else 0.0


def doing(vms: int, channels: int, rate: float, waits_for: Sequence[str] | None = None) -> str:
    """The words for ``vms`` that arrive, open ``channels``, and bytes per second; ``waits_for`` what a daemon that shuts down waits for."""
    pace = f", {rate_text(rate)}" if rate >= 1 else ""
    if waits_for is not None:
        return f"shutting down, waiting for {listed(waits_for)}{pace}"
    if vms:
        return f"{vms} VM{'s' * (vms > 1)} arriving{pace}"
    return f"{channels} channel{'s' * (channels > 1)} open{pace}" if channels else "nothing under way"
