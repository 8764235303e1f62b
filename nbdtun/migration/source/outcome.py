"""Asks the destination for the unknown outcome of a migration; only the destination can find out."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from nbdtun.errors import NbdtunError, OutcomeUnknown
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.control.channel import Control
from nbdtun.migration.control.commands import Outcome, Settle
from nbdtun.migration.settings import MigrationSettings


async def ask(reactor: IReactorTime, carrier: Carrier, settings: MigrationSettings, session: str | None) -> Outcome:
    """
    At the source: let the destination end ``session`` (None: whichever it has for the VM); returns the outcome.

    :raise OutcomeUnknown: it is still unknown.
    """
    try:
        return await _settle_there(reactor, carrier, settings, session)
    except NbdtunError as error:
        raise OutcomeUnknown(
            f"{settings.vm}: it is still unknown whether it runs at the destination ({error}). The source stays paused. "
            f"When the destination can be reached again, run `nbdtun migrate --resolve`. "
            f"By hand: if it runs there, quit the source; only if its QEMU there has ended, `cont` the source"
        ) from error


async def _settle_there(reactor: IReactorTime, carrier: Carrier, settings: MigrationSettings, session: str | None) -> Outcome:
    seconds = settings.steps.answer
    control = await Control(reactor).open(carrier, seconds)
    try:
        answer = await control.ask(Settle, seconds=seconds, vm=settings.vm, session=session)
        outcome: Outcome = answer["outcome"]
        return outcome
    finally:
        control.hang_up()
