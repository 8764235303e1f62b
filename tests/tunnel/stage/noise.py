"""Bytes of which no two pieces are alike, so that one that is lost, doubled or out of place shows."""

from __future__ import annotations

import random


def noise(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(count)
