"""What prevents a domain from leaving, as far as its own host knows."""

from __future__ import annotations

from pathlib import Path

from nbdtun.errors import OutcomeUnknown
from nbdtun.libvirt.findings import ALONE, SNAPSHOTS, TRANSIENT, UNRESOLVED
from nbdtun.libvirt.near.pending import pending
from nbdtun.libvirt.near.survey import Survey
from nbdtun.migration.check.checklist import Checklist


def obstacles(checklist: Checklist, found: Survey, state: Path, *, keep: bool = False) -> None:
    """
    Note what prevents the domain from leaving, or from being kept here.

    ``state`` has the handovers whose outcome is unknown.
    """
    name = found.domain.name
    try:
        left = pending(state, found.domain.uuid).read()
    except OutcomeUnknown as odd:
        checklist.add(UNRESOLVED(f"{name}: {odd.what}", odd.remedy))
        left = None
    if left is not None and not left.ended:
        checklist.add(UNRESOLVED(f"{name} was handed over in an earlier migration, and it is not known yet whether it runs there"))
    elif found.stands:
        checklist.add(UNRESOLVED(f"{name} stands still for an earlier migration, which libvirt has not brought to its end"))
    if keep and not found.persistent:
        checklist.add(TRANSIENT(f"{name} is transient, so that nothing of it stays at the source"))
    for disk in found.alone:
        checklist.add(ALONE(f"disk {disk} is not copied, and its file is on a file system of this host"))
    kept = [f"{count} {what}" for count, what in ((found.snapshots, "snapshots"), (found.checkpoints, "checkpoints")) if count]
    if kept:
        checklist.add(SNAPSHOTS(f"{name} has {' and '.join(kept)}, and libvirt moves no such domain"))
