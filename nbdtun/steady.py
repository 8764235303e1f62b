"""
The reactor's clock, made steady.

Twisted's is that of the wall (``time.time``, in twisted/python/runtime.py), which NTP and administrators set. Set forward, everything that
waits is over at once: limits of time, links that are said to be silent. Set back, it waits for as much longer.
"""

from __future__ import annotations

import time
from typing import Any


def steady(reactor: Any) -> None:
    """
    Let ``reactor`` go by a clock that nobody sets, from now on; for a process that is nbdtun's own, before anything waits.

    A reactor with a clock of its own keeps it, as asyncio's does, and one that something waits on already.
    """
    if reactor.seconds is time.time and not reactor.getDelayedCalls():
        reactor.seconds = time.monotonic
