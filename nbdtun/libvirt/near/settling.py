"""After a failure: where the domain is, by both libvirts. It ends up in one place, or stands still here."""

from __future__ import annotations

from typing import Final

from nbdtun.errors import GuestLost, LibvirtError, MigrationError, OutcomeUnknown, ResumeRefused
from nbdtun.libvirt.near.job import Job
from nbdtun.libvirt.near.session import FarSession
from nbdtun.libvirt.near.survey import BLOCKED, FOR_MIGRATION, PAUSED, RUNNING, Survey
from nbdtun.libvirt.values import Fate

#: The remedy for an unknown outcome.
AGAIN: Final = "use --resolve when the destination can be reached again"


async def settle(
    job: Job, session: FarSession, found: Survey, vm: str, why: BaseException, *, handed_over: bool, forced: bool = False
) -> bool:
    """
    Ask both libvirts where the domain is, and end it. Returns whether it has moved all the same; else it runs on here.

    ``why`` it has failed. A daemon that has ended is not waited for where the guest runs here all the same.

    ``handed_over``: the destination may have been told to let the guest run. ``forced``: its guest was paused by us.

    :raise OutcomeUnknown: it may run there; it is paused here.
    :raise GuestLost: it has run there, and is gone at both hosts.
    :raise MigrationError: it has ended here by itself, and has not run there.
    """
    state = await _state(job, vm, why, handed_over)
    here = state is not None and state[0] in (RUNNING, BLOCKED, PAUSED)
    stands = found.runs and (state == (PAUSED, FOR_MIGRATION) or (forced and state is not None and state[0] == PAUSED))
    try:
        once = here and not stands and ResumeRefused in (type(why), type(why.__cause__))
        fate = await session.finish(found.domain.uuid, arrived=handed_over and not here, once=once)
    except OutcomeUnknown as unknown:
        if (not here and handed_over) or (stands and not forced):
            raise OutcomeUnknown(f"{why}; {unknown}", AGAIN) from unknown
        fate = Fate()  # it was not handed over, or runs here: libvirt there ends what waits for a guest when its source is gone
    if fate.has_run and here:
        raise OutcomeUnknown(f"{why}; {vm} runs at the destination too, {await _paused(job)}", "use --resolve to end the one here")
    if fate.has_run:
        check_there(fate, vm)
    elif not here:
        raise MigrationError(f"{why}; {vm} has ended here, and has not run at the destination", "start it here again")
    elif stands:
        await _go_on(job, vm, why)
    return fate.has_run


def is_gone(fate: Fate) -> bool:
    """Whether no guest is there, neither running nor paused."""
    return fate.state in ("", "shutoff", "crashed")


def check_there(fate: Fate, vm: str) -> None:
    """
    Check that a domain that has moved is there.

    :raise GuestLost: it is not.
    """
    if is_gone(fate):
        raise GuestLost(f"{vm} has moved, and is {fate.state or 'gone'} there")


async def _state(job: Job, vm: str, why: BaseException, handed_over: bool) -> tuple[int, int] | None:
    try:
        return await job.state()
    except LibvirtError as silent:
        what = f"{why}; libvirt here cannot be asked what became of {vm}: {silent}"
        if handed_over:
            raise OutcomeUnknown(what, AGAIN) from silent
        raise MigrationError(what, "it was not handed over, so that it has not run at the destination") from silent


async def _paused(job: Job) -> str:
    try:
        await job.pause()
    except LibvirtError as failure:
        return f"and cannot be paused here: {failure}"
    return "so it is paused here"


async def _go_on(job: Job, vm: str, why: BaseException) -> None:
    try:
        await job.resume()
    except LibvirtError as failure:
        raise MigrationError(
            f"{why}; {vm} stands still here, and libvirt does not let it run on: {failure}", f"virsh resume {vm}"
        ) from failure
