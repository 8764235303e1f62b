"""
``nbdtun receive`` without ssh: a destination for one VM, which a code on the telephone leads to: to a QEMU that waits, or to libvirt.

It offers itself for a while, receives from the one source that came with the code, and ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater

from nbdtun.config import VM, DestinationSettings, TunnelSettings
from nbdtun.config.endpoints import Role, parse
from nbdtun.deferreds import shield
from nbdtun.errors import ConfigError, ReachError
from nbdtun.migration.destination.life import State
from nbdtun.migration.qmp.dial import is_served
from nbdtun.process import Reactor
from nbdtun.reach.codes.offer import Offer
from nbdtun.reach.codes.words import make_code
from nbdtun.service.destination import DestinationService
from nbdtun.service.receive import LOOK, USUAL
from nbdtun.service.tunnel.build import make_listener
from nbdtun.tls.throwaway import SOURCE, Identity
from nbdtun.tls.trust import Pinned, Trusting
from nbdtun.units import duration_text

#: Tells the user one line.
Say = Callable[[str], object]

#: Seconds that a source has to begin, once it has come; and to come back.
WINDOW: Final = 300.0


@frozen
class OfferSettings:
    """
    A destination for ``vm``, whose QEMU waits with the monitor ``qmp`` (empty: at the usual place), on the endpoint ``listen``. The offer
    stands for ``seconds``.

    With the URI ``libvirt`` it is one of libvirt's, which may use the directories ``admit`` as well.

    :raise ConfigError: both are given.
    """

    vm: str
    listen: str
    qmp: str = ""
    run_dir: str | None = None
    seconds: float = 600.0
    libvirt: str = ""
    admit: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if self.libvirt and self.qmp:
            raise ConfigError("--incoming is for VMs without libvirt; leave it out with --libvirt")
        if self.admit and not self.libvirt:
            raise ConfigError("--admit is for --libvirt")

    @property
    def waiting(self) -> VM:
        """The QEMU that waits."""
        return VM(self.vm, self.qmp or USUAL.format(vm=self.vm))

    def destination(self, trust: Trusting, listen: str) -> DestinationSettings:
        """The settings of the destination itself, for the one source that ``trust`` knows: it may move this VM, and no other."""
        return DestinationSettings(
            tunnel=TunnelSettings(run_dir=self.run_dir, trust=trust),
            listen=listen,
            vms=() if self.libvirt else (self.waiting,),
            libvirt=self.libvirt,
            admit=self.admit,
            allow=(f"{self.vm}={SOURCE}",),
        )


def receive_by_code(reactor: Reactor, settings: OfferSettings, say: Say) -> Deferred[None]:
    """
    Offer to receive a VM, ``say`` the code, and receive it; fires when it runs here, or is paused here as it was at its source.

    :raise WrongCode: (in the Deferred) somebody came with a wrong code, and the offer has ended.
    :raise ReachError: (in the Deferred) nobody came, or the VM did not arrive.
    :raise ConfigError: (in the Deferred) it cannot listen.
    """
    return Deferred.fromCoroutine(_receive(reactor, settings, say))


async def _receive(reactor: Reactor, settings: OfferSettings, say: Say) -> None:
    identity, code = Identity.make(), make_code()
    vm = settings.waiting
    if not settings.libvirt and not is_served(vm.qmp):
        say(f"{vm.name}: no QEMU waits at {vm.qmp} yet; start it with -S -incoming defer: only --to ssh://HOST makes one")
    address = parse(settings.listen, Role.LISTEN)
    endpoint = make_listener(reactor, address, TunnelSettings())
    offer = Offer(reactor, identity, code)
    span = duration_text(settings.seconds)
    listen = settings.listen

    def listening(port: IListeningPort) -> None:
        nonlocal listen
        chosen = ""
        if address.port == 0:  # the kernel's choice is the links' too
            number = port.getHost().port  # type: ignore[attr-defined]
            listen, chosen = address.at_port(number), f", on port {number}"
        say(f"{vm.name}: the code is {code}, for one source, within {span}{chosen}")

    taken = await offer.wait(endpoint, settings.seconds, listening)
    context = identity.serving(taken.certificate)
    destination = DestinationService(reactor, settings.destination(Pinned(lambda: context), listen))
    try:
        destination.startService()
        taken.confirm()
        say(f"{vm.name}: the source has come with the code")
        await _arrival(reactor, destination, vm.name)
    finally:
        await shield(destination.stopService(), lambda: None)


async def _arrival(reactor: Reactor, destination: DestinationService, vm: str) -> None:
    """Wait until nothing is under way any more."""
    alone = reactor.seconds()
    while True:
        await deferLater(reactor, LOOK)
        ended = _ended(destination, vm)
        if not destination.idle:
            alone = reactor.seconds()
        elif ended is not None:
            break
        elif reactor.seconds() - alone >= WINDOW:
            raise ReachError(f"{vm}: its source has not begun within {duration_text(WINDOW)}", "run `nbdtun receive` again")
    arrived, reason = ended
    if not arrived:
        raise ReachError(f"{vm} did not arrive{f': {reason}' if reason else ''}", "run `nbdtun receive` again")


def _ended(destination: DestinationService, vm: str) -> tuple[bool, str] | None:
    """Whether the VM has arrived, and else why not; None before the end."""
    if destination.arrivals is not None:
        latest = destination.arrivals.latest
        return None if latest is None or not latest.over else (latest.arrived, "")
    session = destination.sessions.register.latest.get(vm)
    return None if session is None or not session.state.over else (session.state is State.FINISHED, session.reason)
