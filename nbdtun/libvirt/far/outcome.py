"""
The outcome of a migration at the far end: its libvirt's answers and its record decide. Rules only.

A guest has surely not run by a migration in two cases: its domain still waits for it, or libvirt was never told to let it run.
"""

from __future__ import annotations

from typing import Final

from nbdtun.libvirt.far.record import Begun
from nbdtun.libvirt.host import Domain
from nbdtun.libvirt.values import Fate

#: Reasons of a domain that is shut off which a migration to it may have, whose guest has never run there.
_NEVER_RAN: Final = frozenset({"unknown", "destroyed", "failed", "migrated"})


def is_gone(domain: Domain | None) -> bool:
    """Whether no guest of it runs, and none waits."""
    return domain is None or (not domain.active and domain.reason in _NEVER_RAN)


def doubt(begun: Begun, domain: Domain | None) -> str:
    """Why a guest may have run on what was made; empty if none can have."""
    if domain is not None and domain.arrives:
        return ""
    if is_gone(domain):
        return "its guest was handed over, and may have run there" if begun.handed_over else ""
    return f"its guest is {domain.state} there" if domain is not None else ""


def fate(begun: Begun | None, domain: Domain | None, session: str | None) -> Fate:
    """The answer for the source: a record of an arrival counts for its own ``session`` only, since the domain may have left again."""
    waits = domain is not None and domain.arrives
    runs = domain is not None and domain.active and not waits
    recorded = False
    if begun is not None:
        recorded = begun.session == session if begun.arrived else begun.handed_over and not waits
    under_way = begun is not None and not begun.arrived
    kept = tuple(image.path for image in begun.images if image.is_there) if begun is not None else ()
    return Fate(
        state="" if domain is None else domain.state,
        reason="" if domain is None else domain.reason,
        waits=waits,
        has_run=runs or recorded,
        doubtful=recorded and not runs and begun is not None and begun.doubtful,
        begun=under_way,
        kept=kept,
    )
