"""What differs between two hosts, where a destination is made: from the values of options."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from nbdtun.ownership.given import read_text
from nbdtun.spawn.rewrite.answers import Answers, Mapped, Place, places, read_answers

#: A name of libvirt's: of a bridge, a network or a pool.
_NAME: Final = re.compile(r"[^/=\s][^/=]*=[^/=\s][^/=]*")
#: Begins the path in the value of a ``--disk`` that has one.
_PATH: Final = "=/"


def chosen(given: Iterable[str]) -> tuple[str, ...] | None:
    """The disks that ``--disk NODE`` chooses; None for all. Those with a path only say where their image is."""
    return tuple(text for text in given if _PATH not in text) or None


def parse_map(text: str) -> Mapped:
    """
    Read ``/srv/vm=/data/vm``, or the names of two bridges, networks or pools.

    :raise ConfigError: it has neither form.
    """
    if _NAME.fullmatch(text):
        here, _, there = text.partition("=")
        return Mapped(here, there)
    return Mapped.parse(text)


def make_answers(given: Mapping[str, Any]) -> Answers:
    """
    Make the answers; those of a file come before the others, so that the others win.

    :raise ConfigError: the file cannot be read, or the values do not fit.
    """
    found = _from_file(given["answers"]) if given["answers"] else {"map": [], "disk": [], "set": []}
    placed = [Place.parse(text) for text in given["disk"] if _PATH in text]
    own = {place.node for place in placed}
    before = [place for place in map(Place.parse, found["disk"]) if place.node not in own]
    return Answers(
        maps=(*given["map"], *map(Mapped.parse, found["map"])),
        disks=places([*before, *placed]),
        settings=(*found["set"], *given["set"]),
        overwrite=given["overwrite"],
        keep_backing=given["keep_backing"],
        unit=given["unit"],
    )


def _from_file(path: str) -> dict[str, list[str]]:
    return read_answers(read_text(path, "--answers"), path)
