"""The VMs of a host, as lines: what `nbdtun vms` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from nbdtun.errors import printable
from nbdtun.units import size_text

#: The words for run states that say little; others stand for themselves.
_STATES: Final = {"inmigrate": "waits for a migration", "postmigrate": "its guest has left", None: "not here"}


def line(row: Mapping[str, Any]) -> str:
    """One VM, by its object of ``--json``."""
    at = (f"at {to}: {_told(there, 'not there')}" for to, there in row["at"].items())
    return f"{row['vm']}  {printable('; '.join([*_here(row), *at]))}"


def _here(row: Mapping[str, Any]) -> Iterator[str]:
    if migration := row["migration"]:
        to = f" to {migration['to']}" if migration["to"] else ""
        yield f"is being migrated{to} by process {migration['pid']}"
        return
    yield _told(row, _STATES[None])
    if row["memory"]:
        yield f"{size_text(row['disks'])} of disks, {size_text(row['memory'])} of memory"


def _told(row: Mapping[str, Any], nowhere: str) -> str:
    if row["error"]:
        return f"cannot be asked: {row['error']} [{row['code']}]"
    state = row["state"]
    return nowhere if state is None else _STATES.get(state, str(state))
