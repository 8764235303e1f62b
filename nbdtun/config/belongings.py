"""How ``--leave-behind`` is written: the same for the command and the daemon."""

from __future__ import annotations

from collections.abc import Iterable

from nbdtun.errors import ConfigError
from nbdtun.migration.settings import Belonging


def parse_belongings(text: str) -> frozenset[Belonging]:
    """
    ``snapshots,bitmaps``: what of an image may stay behind.

    :raise ConfigError: one of them does not exist.
    """
    known = {belonging.value: belonging for belonging in Belonging}
    for name in text.split(","):
        if name not in known:
            raise ConfigError(f"{name!r} cannot be left behind: it is one of {', '.join(known)}")
    return frozenset(known[name] for name in text.split(","))


def all_of(given: Iterable[frozenset[Belonging]]) -> frozenset[Belonging]:
    """What was said in any of them."""
    return frozenset[Belonging]().union(*given)
