"""What a channel has done so far, in figures; they mean the same whichever process of its end has it."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import frozen


@frozen
class Figures:
    """
    ``sent`` counts bytes that the other end has, ``received`` those that have arrived here. ``resumes`` counts links that were replaced,
    ``replayed`` bytes that were sent again. ``linked`` says whether it has a link.

    ``kept`` bytes may have to be sent again; ``limit`` is the most that may be kept now, ``window`` ever. ``since`` is when its present
    outage began, on the reactor's clock; None while there is none.
    """

    sent: int = 0
    received: int = 0
    resumes: int = 0
    replayed: int = 0
    linked: bool = False
    kept: int = 0
    limit: int = 0
    window: int = 0
    since: float | None = None


def lost_for(channels: Iterable[Figures], now: float) -> float | None:
    """Seconds since the oldest present outage began; None while there is none."""
    return max((now - each.since for each in channels if each.since is not None), default=None)


def in_bytes(offset: int, final: int | None) -> int:
    """An offset of a stream in bytes; its end counts as one more for the protocol."""
    return offset if final is None else min(offset, final)
