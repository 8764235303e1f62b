"""
Asks the destination for the outcome of a migration; only the destination can find out. The source is looked at before it is described.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nbdtun.errors import GuestLost, NbdtunError, OutcomeUnknown, TunnelError
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.control.channel import AGAIN_SECONDS, Control
from nbdtun.migration.control.commands import MAX_DOWNTIME, Outcome, Settle
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.vm.machine import RUNNING, run_state

E = TypeVar("E", bound=NbdtunError)
T = TypeVar("T")

#: The words about the source in an unknown outcome; and those for a source where somebody has let the guest run on.
STANDS: Final = "The source stays paused"
_RUNS: Final = (
    "The source RUNS: somebody has let the guest run on there (`cont`) since it was handed over. "
    "If it runs at the destination too, there are two of it: `stop` one of them at once"
)


async def as_it_stands(monitor: Monitor, error: E) -> E:
    """``error``, whose text says that the source stays paused; or one that warns of two guests, if the one behind ``monitor`` runs."""
    with suppress(NbdtunError):
        if await run_state(monitor) in RUNNING:
            return type(error)(error.what.replace(STANDS, _RUNS), error.remedy)
    return error


async def truthfully(monitor: Monitor, work: Coroutine[Any, Any, T]) -> T:
    """
    Do ``work``, whose errors describe the source behind ``monitor`` :func:`as_it_stands`.

    :raise NbdtunError: those of ``work``.
    """
    try:
        return await work
    except (OutcomeUnknown, GuestLost) as error:
        raise await as_it_stands(monitor, error) from error


async def ask(
    reactor: IReactorTime,
    carrier: Carrier,
    settings: MigrationSettings,
    session: str | None,
    control: Control | None = None,
    patience: float = 0.0,
    secret: bytes = b"",
    downtime: float | None = None,
) -> Outcome:
    """
    At the source: let the destination end ``session`` (None: whichever it has for the VM); returns the outcome.

    It is asked over ``control`` if there is one, else over a new channel, and again for ``patience`` seconds if it cannot be reached. It
    answers when it has watched the guest. It is told for how many seconds the guest stood still, the ``downtime``, which it counts.

    :raise OutcomeUnknown: it is still unknown.
    :raise GuestLost: the VM has run there, and is lost; the source has to stay paused until an operator decides.
    """
    deadline = reactor.seconds() + patience
    while True:
        try:
            if control is None or control.lost:
                outcome, reason = await _settle_there(reactor, carrier, settings, session, secret, downtime)
            else:
                outcome, reason = await _settle(control, settings, session, secret, downtime)
        except NbdtunError as error:
            if not isinstance(error, TunnelError) or reactor.seconds() >= deadline:
                raise _unknown(settings.vm, error) from error
            await deferLater(reactor, AGAIN_SECONDS)
        else:
            if outcome is Outcome.LOST:
                raise _lost(settings.vm, reason)
            return outcome


async def _settle_there(
    reactor: IReactorTime, carrier: Carrier, settings: MigrationSettings, session: str | None, secret: bytes, downtime: float | None
) -> tuple[Outcome, str]:
    control = await Control(reactor).open(carrier, settings.steps.answer)
    try:
        return await _settle(control, settings, session, secret, downtime)
    finally:
        control.hang_up()


async def _settle(
    control: Control, settings: MigrationSettings, session: str | None, secret: bytes, downtime: float | None
) -> tuple[Outcome, str]:
    seconds = settings.steps.answer + settings.settle
    stood = None if downtime is None else min(round(downtime * 1000), MAX_DOWNTIME)
    answer = await control.ask(Settle, seconds=seconds, vm=settings.vm, session=session, secret=secret or None, downtime=stood)
    return answer["outcome"], answer["reason"]


def _unknown(vm: str, error: NbdtunError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{vm}: it is still unknown whether it runs at the destination ({error}). {STANDS}. "
        f"When the destination can be reached again, run `nbdtun migrate --resolve`. "
        f"By hand: if it runs there, quit the source; only if its QEMU there has ended, `cont` the source"
    )


def _lost(vm: str, reason: str) -> GuestLost:
    return GuestLost(
        f"{vm} has run at the destination, and was lost there: {reason}. {STANDS}. "
        f"To go on from the handover: quit QEMU at the destination, then `cont` the source; "
        f"all that the guest has since written to its disks there is lost then, and what it has sent was sent. "
        f"To stay at the destination, or if the guest was to shut down: quit the source"
    )
