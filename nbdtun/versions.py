"""
Two ends of different releases: how they find out what both of them speak.

The end that asks offers a range of versions and the names of features. The other one answers with the highest version that both have, and
those of the features that it has too. Both hold for all that follows. A name that is not known means nothing.

What is written down for a later process, such as the journal in a QEMU, has the same range: the versions whose readers understand it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import evolve, frozen
from twisted.protocols import amp

from nbdtun.amp import Number, Refused
from nbdtun.errors import ProtocolViolation, VersionMismatch

#: The lowest and the highest version that there can be, and the most features in one offer.
MIN_VERSION, MAX_VERSION, MAX_FEATURES = 1, 65_535, 32
_FEATURE: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")


class Features(amp.Argument):
    """A set of names, with one space between two of them; empty if there are none."""

    def fromString(self, data: bytes) -> frozenset[str]:
        names = data.decode("ascii", "replace").split(" ") if data else []
        if len(names) > MAX_FEATURES or not all(map(_FEATURE.fullmatch, names)):
            raise Refused("not a list of features")
        return frozenset(names)

    def toString(self, names: Iterable[str]) -> bytes:
        return " ".join(sorted(names)).encode()


_VERSION: Final = Number(MAX_VERSION, least=MIN_VERSION)
#: The fields of a question and of its answer.
OFFER: Final = ((b"lowest", _VERSION), (b"highest", _VERSION), (b"features", Features()))
AGREED: Final = ((b"version", _VERSION), (b"features", Features()))


@frozen
class Agreed:
    """The version and the features that both ends have."""

    version: int
    features: frozenset[str] = frozenset()

    def fields(self) -> dict[str, Any]:
        """The fields of an answer."""
        return {"version": self.version, "features": self.features}


@frozen
class Speaks:
    """One end's versions of ``protocol``, and its features."""

    protocol: str
    lowest: int = 1
    highest: int = 1
    features: frozenset[str] = frozenset()

    def offer(self) -> dict[str, Any]:
        """The fields of a question."""
        return {"lowest": self.lowest, "highest": self.highest, "features": self.features}

    def only(self, agreed: Agreed) -> Speaks:
        """The same end, where it was agreed before, and must stay."""
        return evolve(self, lowest=agreed.version, highest=agreed.version, features=agreed.features)

    def agree(
        self, lowest: int, highest: int, features: frozenset[str], *, other: str = "the source", here: str = "the destination"
    ) -> Agreed:
        """
        Answer an offer of ``other``; this end is ``here``.

        :raise VersionMismatch: there is no version that both have.
        :raise ProtocolViolation: it is no range.
        """
        if lowest > highest:
            raise ProtocolViolation(f"{other} offers versions {lowest} to {highest} of {self.protocol}")
        version = min(self.highest, highest)
        if version < max(self.lowest, lowest):
            what = f"{other} speaks {_range(lowest, highest)} of {self.protocol}, {here} {_range(self.lowest, self.highest)}"
            raise VersionMismatch(what, f"{other if highest < self.lowest else here} needs a newer release of nbdtun")
        return Agreed(version, self.features & features)

    def document(self) -> dict[str, Any]:
        """The names in something that is written down: its readers must have a version in the range, and all the features."""
        return {**self.offer(), "features": sorted(self.features)}

    def understand(self, told: object) -> None:
        """
        Check whether this end understands what was written down.

        :raise VersionMismatch: it does not.
        :raise ValueError: it does not say who does.
        """
        match told:
            case {"lowest": int(lowest), "highest": int(highest), "features": [*names]} if _are_bounds(lowest, highest, names):
                self.agree(lowest, highest, frozenset(), other="it", here="this nbdtun")
            case _:
                raise ValueError("it does not say which versions understand it")
        if unknown := sorted({*names} - self.features):
            raise VersionMismatch(f"it has {', '.join(unknown)}, which this nbdtun has not", "this nbdtun needs a newer release")

    def chosen(self, answer: Mapping[str, Any], other: str) -> Agreed:
        """
        What ``other`` has chosen from our offer.

        :raise ProtocolViolation: it was not offered.
        """
        agreed = Agreed(answer["version"], answer["features"])
        if not self.lowest <= agreed.version <= self.highest or not agreed.features <= self.features:
            names = f" with {', '.join(sorted(agreed.features))}" if agreed.features else ""
            raise ProtocolViolation(f"{other} has chosen version {agreed.version}{names} of {self.protocol}, which was not offered")
        return agreed


def _are_bounds(lowest: int, highest: int, names: list[object]) -> bool:
    return MIN_VERSION <= lowest <= highest <= MAX_VERSION and len(names) <= MAX_FEATURES and all(map(_is_name, names))


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _FEATURE.fullmatch(name) is not None


def _range(lowest: int, highest: int) -> str:
    return f"version {lowest}" if lowest == highest else f"versions {lowest} to {highest}"
