"""The near end's client of its session at the far end: the control channel, and the questions over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from nbdtun.errors import DestinationFailed, LinkLost, NbdtunError, OutcomeUnknown, ResumeRefused, ShuttingDown
from nbdtun.libvirt.commands import LIBVIRT, LibvirtFinish, LibvirtLook, LibvirtOutcome, LibvirtPrepare
from nbdtun.libvirt.values import Fate, Found, Prepared, Wanted
from nbdtun.migration.carrier import Carrier
from nbdtun.migration.control.channel import AGAIN_SECONDS, Control
from nbdtun.migration.settings import StepTimeouts
from nbdtun.migration.source.session_client import SourceControl

#: The remedy where nobody can tell.
DECIDE: Final = "if its log there does not tell, decide: `virsh resume` it here, or `virsh destroy` it"

#: Seconds in which images are made, and looked at.
MAKING = 600.0


class FarSession:
    """
    The session ``ident`` at the far end, which ``carrier`` reaches; empty: none in particular. ``alarm`` is called when its control channel
    is lost, with the error.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        carrier: Carrier,
        ident: str,
        secret: bytes,
        steps: StepTimeouts,
        alarm: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self.ident = ident
        self.prepared = False  #: something may have been made for it
        self._reactor = reactor
        self._carrier = carrier
        self._key = {"session": ident or None, "secret": secret or None}
        self._steps = steps
        self._alarm = alarm
        self._control: Control | None = None

    def __repr__(self) -> str:
        return f"<FarSession {self.ident[:8]} over {self._control!r}>"

    async def open(self) -> None:
        """
        Open the control channel, unless it is open.

        :raise TunnelError: the far end cannot be reached, or refuses.
        """
        if self._control is None or self._control.lost:
            self._control = await SourceControl(self._reactor, self._alarm).open(self._carrier, self._steps.answer)
            self._control.when_lost().addCallback(self._alarm)

    async def ping(self) -> float:
        """Measure the round trip, in seconds (:exc:`NbdtunError` if it does not answer)."""
        if self._control is None:
            raise LinkLost("there is no control channel")
        return await self._control.round_trip(self._steps.answer)

    async def look(self, wanted: Wanted) -> Found:
        """
        Hear what is in the way there.

        :raise NbdtunError: it cannot be asked.
        """
        answer = await self._ask(LibvirtLook, MAKING, **LIBVIRT.offer(), wanted=wanted)
        LIBVIRT.chosen(answer, "the destination")
        found: Found = answer["found"]
        return found

    async def prepare(self, wanted: Wanted) -> Prepared:
        """
        Have all made ready there.

        :raise NbdtunError: it is not, and nothing is left of it.
        """
        self.prepared = True
        answer = await self._ask(LibvirtPrepare, MAKING, **self._key, **LIBVIRT.offer(), wanted=wanted)
        LIBVIRT.chosen(answer, "the destination")
        prepared: Prepared = answer["prepared"]
        return prepared

    async def finish(self, uuid: str, *, arrived: bool, once: bool = False) -> Fate:
        """
        End the session; returns what became of the domain with this ``uuid`` there.

        It is asked again while the far end cannot be reached, for as long as the settings say, unless ``once``. One that was restarted
        knows the domain, but not the session.

        :raise OutcomeUnknown: it could not be asked.
        """

        async def ask() -> Fate:
            try:
                answer = await self._ask(LibvirtFinish, self._steps.complete, **self._key, arrived=arrived)
            except DestinationFailed:
                answer = await self._ask(LibvirtOutcome, self._steps.complete, **self._key, uuid=uuid, end=not arrived)
            fate: Fate = answer["fate"]
            return fate

        return await self._insist(ask, 0.0 if once else self._steps.settle)

    async def outcome(self, uuid: str, *, end: bool, decided: bool = False) -> Fate:
        """
        Ask what became of the domain; ``end`` one there that still waits for its guest. ``decided``: its guest runs here by now, so a doubt
        about one that is gone there is no hindrance.

        :raise OutcomeUnknown: it could not be asked, or cannot tell.
        """

        async def ask() -> Fate:
            fate: Fate = (await self._ask(LibvirtOutcome, self._steps.complete, **self._key, uuid=uuid, end=end))["fate"]
            if fate.doubtful and not decided:
                raise OutcomeUnknown("its guest was handed over, and is gone there: whether it has run there cannot be told", DECIDE)
            return fate

        return await self._insist(ask, self._steps.settle)

    async def _insist(self, ask: Callable[[], Any], seconds: float) -> Fate:
        until = self._reactor.seconds() + seconds
        while True:
            try:
                await self.open()
                fate: Fate = await ask()
            except (LinkLost, ResumeRefused, ShuttingDown) as error:
                if self._reactor.seconds() >= until:
                    raise OutcomeUnknown(f"the destination could not be asked what became of it: {error}") from error
            except OutcomeUnknown:
                raise
            except NbdtunError as error:
                raise OutcomeUnknown(f"the destination cannot tell what became of it: {error}") from error
            else:
                return fate
            await deferLater(self._reactor, AGAIN_SECONDS)

    async def _ask(self, command: Any, seconds: float, **arguments: Any) -> dict[str, Any]:
        if self._control is None:
            raise LinkLost("there is no control channel")
        return await self._control.ask(command, seconds=seconds, **arguments)

    def close(self) -> None:
        """Close the control channel; its loss is no alarm any more."""
        self._alarm = lambda error: None
        control, self._control = self._control, None
        if control is not None:
            control.hang_up()
