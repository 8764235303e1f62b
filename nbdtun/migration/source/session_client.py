"""
The source's client of its session at the destination: the control channel, and the commands sent over it.

The channel itself survives a lost link. But a daemon that dies takes the session with it, and the restarted daemon does not know it.
While only disks are being copied, that need not end the migration: the VM's QEMU there still lives, and the source's QEMU holds its writes
back and dials again (``reconnect-delay``). So the session is prepared a second time, under the same id, with the same names, and the
mirrors go on. Another QEMU there, as after a reboot, may lack what was written to the one before: then the migration fails. The memory's
stream cannot be dialled again; from Listen on, a lost session is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nbdtun.deferreds import end_of
from nbdtun.errors import LinkLost, MirrorFailed, NbdtunError, ProtocolViolation, ShuttingDown
from nbdtun.logs import make_logger
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.catalogue import TUNNEL
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.consult import consult
from nbdtun.migration.check.departure import Departure, told_of
from nbdtun.migration.control.channel import AGAIN_SECONDS, Control, remote_error
from nbdtun.migration.control.commands import BY_SOURCE, MIGRATION, Abort, Listen, Ping, Prepare, Query, Trouble
from nbdtun.migration.control.rows import bitmaps_of, findings_of, rows_of_bitmaps
from nbdtun.migration.finding import Finding
from nbdtun.migration.settings import MigrationSettings
from nbdtun.migration.vm.bitmaps import Awaited, Passenger

DIAGNOSIS_SECONDS = 5.0
#: For an answer in a roll-back while the link is lost. Abort is sent when a link comes back; without one the destination aborts by itself.
LOST_SECONDS = 1.0


class SourceControl(Control):
    """The source's end of the control channel; ``alarm`` is called with errors that the destination reports."""

    def __init__(self, clock: IReactorTime, alarm: Callable[[Exception], None]) -> None:
        super().__init__(clock)
        self._alarm = alarm

    @Trouble.responder
    def trouble(self, session: str, code: str, reason: str) -> dict[str, Any]:
        self._alarm(remote_error(code, reason))
        return {}

    @Ping.responder
    def ping(self) -> dict[str, Any]:
        return {}


class SessionClient:
    """
    The client of the session ``ident``. ``alarm`` is called when it has failed at the destination, or is lost for good.

    ``control`` is the present channel, once :meth:`open` has returned. ``round_trip`` is one over it, in seconds, from Listen on.
    ``lost`` is
    the error after which the session is being prepared a second time, None otherwise.
    """

    log = make_logger()

    def __init__(
        self,
        reactor: IReactorTime,
        carrier: Carrier,
        ident: str,
        settings: MigrationSettings,
        alarm: Callable[[Exception], None],
        secret: bytes = b"",
    ) -> None:
        self.control: Control | None = None
        self.lost: Exception | None = None
        self._reactor = reactor
        self._carrier = carrier
        self.round_trip: float | None = None
        self._ident = ident
        self._key = {"session": ident, "secret": secret or None}
        self._settings = settings
        self._alarm = alarm
        self._prepared: dict[str, Any] | None = None  # the arguments for preparing a second time, while that is possible
        self._qemu: str | None = None  # the mark of the QEMU there
        self._renewing: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<SessionClient with session {self._ident[:8]} over {self.control!r}>"

    @property
    def renewable(self) -> bool:
        """Whether the session can be prepared a second time; not before it is prepared, nor from Listen on."""
        return self._prepared is not None

    async def open(self) -> None:
        """
        Open the control channel.

        :raise TunnelError: the destination cannot be reached, or refuses.
        """
        control = await SourceControl(self._reactor, self._alarm).open(self._carrier, self._settings.steps.answer)
        self.control = control
        control.when_lost().addCallback(self._lost, control)

    async def consult(self, checklist: Checklist, departure: Departure) -> None:
        """Something prevents the migration already: hear what else does so at the destination, so that all is said at once."""
        with checklist.collecting(TUNNEL):
            await self.open()
            if self.control is not None:
                await consult(checklist, self.control, departure, self._settings)

    async def prepare(self, departure: Departure) -> tuple[str, tuple[Finding, ...]]:
        """Prepare the destination for ``departure``; returns the target for NBD connections, and the findings there."""
        asked = told_of(departure, self._settings)
        answer = await self._ask(Prepare, **asked)
        # A daemon that is restarted meanwhile may be of another release.
        self._prepared = asked | MIGRATION.only(MIGRATION.chosen(answer, "the destination")).offer()
        self._qemu = answer["qemu"]
        return str(answer["target"]), findings_of(answer["findings"])

    async def listen(self, bitmaps: tuple[Passenger, ...] = (), connections: int = 0) -> Awaited:
        """
        Let the destination wait for the memory, over so many ``connections`` beside the main one, and for ``bitmaps``; returns what it
        takes.

        A session that is lost from now on cannot be renewed.
        """
        if self._renewing is not None:
            await end_of(self._renewing)
        self._prepared = None
        answer = await self._ask(Listen, bitmaps=rows_of_bitmaps(bitmaps), connections=connections or None)
        Deferred.fromCoroutine(self._measure()).addErrback(lambda _: None)  # nobody waits for it
        taken = answer.get("connections") or 0
        if taken not in (0, connections):
            raise ProtocolViolation(f"the destination takes the memory over {taken} connections, and was asked for {connections}")
        return Awaited(str(answer["target"]), bitmaps_of(answer["bitmaps"]), taken)

    async def _measure(self) -> None:
        if self.control is not None:
            self.round_trip = await self.control.round_trip(self._settings.steps.answer)

    async def abort(self) -> None:
        """Abort the session; without a control channel it aborts by itself."""
        self._prepared = None
        if self._renewing is not None:
            self._renewing.cancel()
        with suppress(NbdtunError):
            await self._ask(Abort, self._at_most(self._settings.steps.farewell))

    async def diagnose(self) -> str:
        """The destination's own reason for a failure, if any; to be asked before anything is undone there."""
        with suppress(NbdtunError):
            reason = str((await self._ask(Query, self._at_most(DIAGNOSIS_SECONDS), vm=self._settings.vm))["reason"])
            return "" if reason == BY_SOURCE else reason  # the roll-back may have been quicker
        return ""

    async def close(self) -> None:
        """Close the control channel."""
        self._prepared = None
        if self.control is not None:
            self.control.hang_up()

    def _at_most(self, seconds: float) -> float:
        return seconds if self._carrier.link.lost_for is None else LOST_SECONDS

    async def _ask(self, command: Any, seconds: float | None = None, **arguments: Any) -> dict[str, Any]:
        if self.control is None:
            raise LinkLost("there is no control channel")
        return await self.control.ask(command, seconds=seconds or self._settings.steps.answer, **self._key, **arguments)

    def _lost(self, error: Exception, control: Control) -> None:
        if control is not self.control:
            return
        if self._prepared is None:
            self._alarm(error)
        elif self._renewing is None:  # else the renewal notices it as well
            self.lost = error
            self._renewing = Deferred.fromCoroutine(self._renew(error, self._prepared))
            self._renewing.addBoth(self._renewed)

    async def _renew(self, lost: Exception, prepared: dict[str, Any]) -> None:
        """
        Prepare the session again, with the restarted daemon; if this fails, ``lost`` is reported as the cause.

        That daemon may be stopped in turn. It is tried for as long as QEMU holds the disks' requests back.
        """
        until = self._reactor.seconds() + self._settings.reconnect_delay
        while (failed := await self._prepare_again(prepared)) is not None:
            self.log.debug("{session} could not be prepared again: {error}", session=self._ident[:8], error=failed)
            if not isinstance(failed, ShuttingDown | LinkLost) or self._reactor.seconds() >= until:
                self._alarm(failed if isinstance(failed, MirrorFailed) else lost)
                return
            await deferLater(self._reactor, AGAIN_SECONDS)
        self.lost = None
        self.log.warn("{vm}: the destination's daemon was restarted; copying the disks continues", vm=self._settings.vm)

    async def _prepare_again(self, prepared: dict[str, Any]) -> NbdtunError | None:
        try:
            await self.open()
            self._require_same((await self._ask(Prepare, **prepared))["qemu"])
        except NbdtunError as error:
            return error
        return None

    def _require_same(self, qemu: str | None) -> None:
        if self._qemu is not None and qemu is not None and qemu != self._qemu:
            what = f"{self._settings.vm}: QEMU was started again at the destination while its disks were copied"
            raise MirrorFailed(f"{what}; what they had received may be lost", "migrate it again")

    def _renewed(self, _: object) -> None:
        self._renewing = None
