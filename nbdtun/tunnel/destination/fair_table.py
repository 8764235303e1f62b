"""
FairTable: a table with a limit, divided fairly between owners.

Each entry has an owner. When the table is full, the owner with the most entries (including the new one) loses its oldest entry. So an
owner that floods the table displaces only itself, never those with few entries.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class FairTable(Generic[K, V]):
    """Keeps at most ``limit`` entries, and at most ``each`` of one owner."""

    def __init__(self, limit: int, each: int | None = None) -> None:
        self.limit(limit, each)
        self._entries: dict[K, tuple[str, V]] = {}  # oldest first, as are the keys of each owner
        self._owned: dict[str, dict[K, None]] = {}

    def __repr__(self) -> str:
        return f"<FairTable {len(self._entries)} of {self._limit}, {len(self._owned)} owners>"

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: K) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._entries))

    def limit(self, limit: int, each: int | None = None) -> None:
        """Keep to other limits: entries beyond them stay, and each new one displaces another."""
        self._limit = limit
        self._each = limit if each is None else each

    def add(self, owner: str, key: K, value: V) -> tuple[K, V] | None:
        """Add an entry, as the newest of ``owner``; returns the entry that it displaced, if any."""
        self.pop(key)
        owned = self._owned.get(owner, {})
        loser: str | None = None
        if len(owned) >= self._each:
            loser = owner
        elif len(self._entries) >= self._limit:
            loser = max(self._owned, key=lambda each: len(self._owned[each]) + (each == owner))
        gone = None if loser is None else self._lose_oldest(loser)
        self._entries[key] = (owner, value)
        self._owned.setdefault(owner, {})[key] = None
        return gone

    def find(self, key: K) -> tuple[str, V] | None:
        """Return the owner and the value, if there is such an entry."""
        return self._entries.get(key)

    def oldest(self) -> tuple[K, V] | None:
        """Return the oldest of all entries."""
        for key, (_, value) in self._entries.items():
            return key, value
        return None

    def pop(self, key: K) -> V | None:
        """Remove an entry and return its value, if it is there."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        owner, value = entry
        owned = self._owned[owner]
        del owned[key]
        if not owned:
            del self._owned[owner]
        return value

    def _lose_oldest(self, owner: str) -> tuple[K, V]:
        key = next(iter(self._owned[owner]))
        value = self._entries[key][1]
        self.pop(key)
        return key, value
