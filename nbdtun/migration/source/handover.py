"""
The one step that cannot be undone: the source asks the destination to take over.

Before it the guest cannot run at the destination, whatever is lost; after it the guest may. So if the answer is lost with the control
channel, the source asks again over a new one, within a time limit. Only three ends are possible: the guest runs there (return), it
certainly does not and never will (any error except one), or the outcome is unknown (:class:`~nbdtun.errors.OutcomeUnknown`, and the
source has to stay paused). A fault of this program is no end of its own: where it happens, nobody knows, and the outcome is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from nbdtun.errors import DestinationFailed, NbdtunError, OutcomeUnknown, TunnelError
from nbdtun.logs import make_logger
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.control.channel import AGAIN_SECONDS, Control
from nbdtun.migration.control.commands import Abort, Finish, Query
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.source.outcome import STANDS

_log = make_logger()


@contextmanager
def in_doubt(vm: str) -> Iterator[None]:
    """
    From the handover on, what goes wrong here says nothing about the guest: nothing may be undone for it.

    :raise OutcomeUnknown: an error that is none of ours.
    """
    try:
        yield
    except (NbdtunError, GeneratorExit):
        raise
    except BaseException as fault:
        _log.failure("{vm}: a bug in nbdtun", failure=Failure(fault), vm=vm)
        raise _unknown(vm, f"a bug in nbdtun: {fault!r}") from fault


class Handover:
    """Hands the session ``ident`` over, through ``control`` or through a new control channel of ``carrier``."""

    def __init__(
        self, clock: IReactorTime, carrier: Carrier, control: Control, ident: str, settings: MigrationSettings, secret: bytes = b""
    ) -> None:
        self._clock = clock
        self._carrier = carrier
        self._control = control
        self._ident = ident
        self._key = {"session": ident, "secret": secret or None}
        self._settings = settings

    def __repr__(self) -> str:
        return f"<Handover of session {self._ident[:8]}>"

    async def finish(self, run: bool) -> None:
        """
        Let the destination take over, and the guest run there if ``run``.

        :raise OutcomeUnknown: it is unknown whether the destination took over.
        :raise NbdtunError: it did not, and never will.
        """
        steps = self._settings.steps
        asked = {**self._key, "run": run, "settle": round(self._settings.settle * 1000)}
        with in_doubt(self._settings.vm):
            await self._ask(steps.complete + steps.answer, asked)

    async def _ask(self, seconds: float, asked: dict[str, Any]) -> None:
        try:
            await self._control.ask(Finish, seconds=seconds, **asked)
        except OutcomeUnknown as error:
            raise _unknown(self._settings.vm, str(error)) from error
        except TunnelError as error:
            try:
                await self._ask_until_known(error)
            finally:
                self._control.hang_up()
        except NbdtunError as error:  # an error alone is not trusted: a wrong one would mean a second running copy
            await self._ask_until_known(error, error)

    async def _ask_until_known(self, last: NbdtunError, refusal: NbdtunError | None = None) -> None:
        """Ask until there is an answer, or the time is up; ``refusal`` is the error to raise if it did not take over."""
        deadline = self._clock.seconds() + self._settings.steps.settle
        while self._clock.seconds() < deadline:
            try:
                if await self._is_known(refusal):
                    return
            except TunnelError as error:
                last = error
            await deferLater(self._clock, AGAIN_SECONDS)
        raise _unknown(self._settings.vm, str(last))

    async def _is_known(self, refusal: NbdtunError | None) -> bool:
        seconds = self._settings.steps.answer
        if self._control.lost:
            self._control = await Control(self._clock).open(self._carrier, seconds)
        answer = await self._control.ask(Query, seconds=seconds, **self._key, vm=self._settings.vm)
        if answer["state"] in ("prepared", "listening"):  # Finish never arrived; now it must not
            answer |= await self._control.ask(Abort, seconds=seconds, **self._key)
        if answer["state"] in ("aborting", "aborted"):
            raise refusal or DestinationFailed(f"the destination did not take over: {answer['reason']}")
        if answer["state"] in ("unknown", "uncertain"):
            raise _unknown(self._settings.vm, f"the destination reports session {answer['state']}, machine {answer['machine']}")
        return bool(answer["state"] == "finished")


def _unknown(vm: str, why: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"{vm} was handed over, but it is unknown whether it runs at the destination ({why}). {STANDS}. "
        f"When the destination can be reached again, run `nbdtun migrate --resolve` with the same options. "
        f"By hand: ask QEMU there with query-status; if it runs, quit the source; if not, quit it there first, then `cont` the source"
    )
