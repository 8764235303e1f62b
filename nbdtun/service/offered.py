"""
``nbdtun receive`` without ssh: a destination for one VM, of a QEMU's or of libvirt's, which a code on the telephone leads to.

The code stands until the VM is here: one source after the other may come with it, to plan, to check and to migrate. A wrong guess ends it.
While a source is here, nobody can guess, and the loss of the terminal ends nothing: the source's work goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import evolve, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort

from nbdtun.config import TunnelSettings
from nbdtun.config.endpoints import Role, parse
from nbdtun.deferreds import shield
from nbdtun.errors import ConfigError, LibvirtError, NbdtunError
from nbdtun.libvirt.connection import Libvirt
from nbdtun.migration.catalogue import SOCKETS
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.qmp.dial import is_served
from nbdtun.process import Reactor
from nbdtun.reach.codes.offer import Offer, Taken
from nbdtun.reach.codes.words import make_code
from nbdtun.reach.far import Asked
from nbdtun.service.checks.access import check_own_access
from nbdtun.service.local.base import base_of
from nbdtun.service.local.outcomes import state_dir
from nbdtun.service.local.rundir import RunDir
from nbdtun.service.receive import Ready, Receiver
from nbdtun.service.tunnel.build import make_listener
from nbdtun.tls.throwaway import SOURCE
from nbdtun.units import duration_text

#: Tells the user one line.
Say = Callable[[str], object]

#: Seconds that a source has to begin, once it has come. Its channel to the receiver outlives lost links.
WINDOW: Final = 30.0


@frozen
class OfferSettings:
    """
    A destination for ``vm`` on the endpoint ``listen``. Its QEMU waits with the monitor ``qmp``; empty: at the usual place, or it is made.
    The code stands for ``seconds`` after each source.

    With the URI ``libvirt`` it is one of libvirt's, which may use the directories ``admit`` as well.

    :raise ConfigError: both are given, or the code would not stand at all.
    """

    vm: str
    listen: str
    qmp: str = ""
    run_dir: str | None = None
    seconds: float = 600.0
    libvirt: str = ""
    admit: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if not self.seconds:
            raise ConfigError("--within must be more than 0")
        if self.libvirt and self.qmp:
            raise ConfigError("--incoming is for VMs without libvirt; leave it out with --libvirt")
        if self.admit and not self.libvirt:
            raise ConfigError("--admit is for --libvirt")

    @property
    def ready(self) -> Ready:
        """How its receivers listen: for this VM, and for no other."""
        admit = self.admit if self.libvirt else None
        return Ready(listen=self.listen, window=WINDOW, allow=(f"{self.vm}={SOURCE}",), admit=admit)


class Standing:
    """A code that stands, which ``say`` is told, and the sources that come with it."""

    def __init__(self, reactor: Reactor, settings: OfferSettings, say: Say) -> None:
        self._reactor = reactor
        self._settings = settings
        self._say = say
        self._ready = settings.ready
        self._code = make_code()
        self._words = "the code is"
        self._cancelled = False  #: while a receiver was ending, which it does in its own time
        self._visited = False  #: a source is here
        self._work: Deferred[None] | None = None

    def __repr__(self) -> str:
        return f"<Standing for {self._settings.vm}>"

    def begin(self) -> Deferred[None]:
        """
        Say the code, and receive the VM; fires when it runs here, or is paused here as it was at its source.

        :raise WrongCode: (in the Deferred) somebody came with a wrong code.
        :raise ReachError: (in the Deferred) nobody came, or came again.
        :raise ConfigError: (in the Deferred) it cannot listen, or no socket can be made in the run directory.
        """
        self._work = Deferred.fromCoroutine(self._run())
        return self._work

    def cancel(self) -> None:
        """End it now: what is under way is undone."""
        if self._work is not None:
            self._work.cancel()

    def hang_up(self) -> None:
        """The terminal is gone: end it as soon as no source is here, as nobody could read the code again."""
        if self._visited and not self._cancelled:
            self._cancelled = True
            self._tell("the terminal was closed; the source's work goes on here, and then `nbdtun receive` ends")
        elif not self._visited:
            self.cancel()

    async def _run(self) -> None:
        await self._look()
        while not await self._visit(await self._offer()):
            self._words = "the source has left, and the code is still"

    async def _look(self) -> None:
        """
        Say what a source would meet here, before somebody reads the code to it.

        :raise ConfigError: no socket can be made in the run directory.
        """
        settings, checklist = self._settings, Checklist()
        if not check_own_access(checklist, SOCKETS[0], RunDir(settings.run_dir)):
            raise ConfigError(f"{checklist.findings[0]}")
        if settings.qmp and not is_served(settings.qmp):
            self._tell(f"no QEMU waits at {settings.qmp} yet; start it with -S -incoming defer")
        if settings.libvirt:
            try:
                (await Libvirt(self._reactor, settings.libvirt).open()).close()
            except LibvirtError as error:  # it may be started before a source comes
                self._tell(f"{error}")

    async def _offer(self) -> Taken:
        address = parse(self._ready.listen, Role.LISTEN)
        offer = Offer(self._reactor, self._ready.identity, self._code)
        span = duration_text(self._settings.seconds)

        def listening(port: IListeningPort) -> None:
            chosen = ""
            if address.port == 0:  # the kernel's choice is the links' too
                number = port.getHost().port  # type: ignore[attr-defined]
                self._ready, chosen = evolve(self._ready, listen=address.at_port(number)), f", on port {number}"
            self._tell(f"{self._words} {self._code}, for {span}{chosen}")

        endpoint = make_listener(self._reactor, address, TunnelSettings())
        return await offer.wait(endpoint, self._settings.seconds, listening)

    async def _visit(self, taken: Taken) -> bool:
        """Serve a source until it has left; returns whether the VM is here."""
        settings, self._visited = self._settings, True
        state = state_dir(settings.run_dir)
        base = base_of(settings.run_dir)
        making = not (settings.qmp or settings.libvirt)
        receiver = Receiver.of(self._reactor, settings.vm, base, state, making=making, ready=self._ready)
        try:
            if await self._begin(receiver, taken):
                await receiver.serve()
        finally:
            await shield(Deferred.fromCoroutine(receiver.end()), self._cancel)
        self._visited = False
        if receiver.arrived:
            self._tell("it has arrived" + (f", in the QEMU with the monitor {receiver.monitor}" if receiver.monitor else ""))
        elif self._cancelled:
            raise CancelledError
        return receiver.arrived

    async def _begin(self, receiver: Receiver, taken: Taken) -> bool:
        """Let the source's links come; returns whether they can."""
        settings = self._settings
        try:
            answer = await receiver.receive(Asked(taken.certificate, settings.qmp, (), "", taken.resume_window, settings.libvirt))
        except NbdtunError as error:
            taken.refuse(error)
            self._tell(f"the source has come with the code, and is refused: {error}")
            return False
        taken.confirm(waits=answer["waits"] or bool(settings.qmp))
        self._tell("the source has come with the code")
        return True

    def _cancel(self) -> None:
        self._cancelled = True

    def _tell(self, line: str) -> None:
        self._say(f"{self._settings.vm}: {line}")
