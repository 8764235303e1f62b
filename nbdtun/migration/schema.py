"""
What a QEMU understands, asked of itself: its version is never looked at.

``query-qmp-schema`` is introspection as QEMU documents it: a list of entries, which refer to each other by meaningless names; a command's
arguments are the members of the object that its ``arg-type`` names, and of that object's variants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Schema:
    """The answer of ``query-qmp-schema``."""

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        self._entries: dict[str, Mapping[str, Any]] = {str(entry["name"]): entry for entry in entries}

    def __repr__(self) -> str:
        return f"<Schema of {len(self._entries)} entries>"

    def commands(self) -> frozenset[str]:
        """The names of all commands."""
        return frozenset(name for name, entry in self._entries.items() if entry["meta-type"] == "command")

    def arguments(self, command: str, variant: str | None = None) -> frozenset[str]:
        """
        The names of the arguments that ``command`` takes, none if there is no such command.

        ``variant`` adds those of one variant, such as a block driver's for ``blockdev-add``.
        """
        entry = self._entries.get(command, {})
        shape = self._entries.get(entry.get("arg-type", ""), {})
        names = _members(shape)
        for choice in shape.get("variants", ()):
            if choice["case"] == variant:
                names |= _members(self._entries.get(choice["type"], {}))
        return names


def _members(shape: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(member["name"] for member in shape.get("members", ()) if "name" in member)
