"""How ``--leave-behind`` is written: the same for the command and the daemon."""

from __future__ import annotations

from collections.abc import Iterable

from nbdtun.errors import ConfigError
from nbdtun.migration.settings import Belonging
from nbdtun.units import choice_remedy


def parse_belongings(text: str) -> frozenset[Belonging]:
    """
    ``snapshots,bitmaps``: the parts of an image that may stay behind.

    :raise ConfigError: a name is unknown.
    """
    known = {belonging.value: belonging for belonging in Belonging}
    for name in text.split(","):
        if name not in known:
            raise ConfigError(f"{name!r} cannot be left behind", choice_remedy(name, known))
    return frozenset(known[name] for name in text.split(","))


def all_of(given: Iterable[frozenset[Belonging]]) -> frozenset[Belonging]:
    """The union of all that were given."""
    return frozenset[Belonging]().union(*given)
