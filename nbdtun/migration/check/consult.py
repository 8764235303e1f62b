"""The destination is asked for its findings: for a check, and for a migration that something prevents already."""

from __future__ import annotations

from nbdtun.migration.catalogue import DESTINATION, NOT_COMPARED
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.command import Check
from nbdtun.migration.check.departure import Departure, told_of
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import MIGRATION, Query
from nbdtun.migration.control.rows import findings_of, spaces_of
from nbdtun.migration.ids import new_session
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.vm.machine import RUNNING


async def consult(checklist: Checklist, control: Control, departure: Departure | None, settings: MigrationSettings) -> float | None:
    """
    Add the findings of the destination about ``departure``; returns its time of day in seconds since the epoch.

    None if it could not compare anything.
    """
    with checklist.collecting(DESTINATION):
        if departure is None:
            await _look(checklist, control, settings)
            return None
        answer = await control.ask(Check, seconds=settings.steps.answer, **told_of(departure, settings))
        MIGRATION.chosen(answer, "the destination")
        for finding in findings_of(answer["findings"]):
            checklist.add(finding)
        checklist.spaces = spaces_of(answer["spaces"])
        return float(answer["time"]) / 1e6
    return None


async def _look(checklist: Checklist, control: Control, settings: MigrationSettings) -> None:
    """Without the source's QEMU nothing can be compared, but the VM may have moved already."""
    vm = settings.vm
    answer = await control.ask(Query, seconds=settings.steps.answer, session=new_session(), vm=vm)
    state = "running" if answer["machine"] in RUNNING else answer["machine"]
    if state in ("running", "paused"):
        checklist.add(DESTINATION(f"{vm} is already {state} at the destination", "if it has moved, nothing is left to do"))
    else:
        checklist.add(NOT_COMPARED("not compared: the source QEMU could not be asked"))
