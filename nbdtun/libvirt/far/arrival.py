"""
One domain that arrives: its images and its directory are made, its targets are opened, and in the end it is kept, or nothing is left of it.

libvirt's own migration runs between :meth:`Arrival.prepare` and :meth:`Arrival.finish`, and needs nothing of this process but the targets.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import deferLater

from nbdtun.errors import DestinationFailed, LibvirtError, NbdtunError, NotMigratable, error_of
from nbdtun.kept import Kept
from nbdtun.libvirt.connection import Libvirt
from nbdtun.libvirt.far import volumes
from nbdtun.libvirt.far.look import Scene, look
from nbdtun.libvirt.far.needs import read
from nbdtun.libvirt.far.outcome import fate
from nbdtun.libvirt.far.record import Begun, Made
from nbdtun.libvirt.far.remains import LOOK_AGAIN, SETTLE_SECONDS, Stays, remove, wind_up
from nbdtun.libvirt.far.volumes import Place, place_of
from nbdtun.libvirt.host import Host
from nbdtun.libvirt.pools import Pools
from nbdtun.libvirt.values import Fate, Found, Prepared, Wanted, mode_of
from nbdtun.logs import make_logger
from nbdtun.migration.bond import Bond
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.rollback.presence import identity
from nbdtun.ownership.directories import make_directories, make_within, opened, remove_tree
from nbdtun.process import Reactor

#: Seconds in which a domain is looked at, and its images are made.
LOOK_SECONDS: Final = 300.0
MAKE_SECONDS: Final = 300.0

#: Why channels end that nobody uses any more.
UNNEEDED: Final = "the migration no longer needs it"

#: The sockets in a session's directory where QEMU will listen here.
MEMORY, DISKS = "memory.sock", "disks.sock"


class Doors(Protocol):
    """The tunnel's part of an arrival: the targets that lead to its sockets, and to libvirt."""

    def open(self) -> tuple[str, str, str]:
        """Let channels of its source in; returns the names of the targets of libvirt, the memory and the disks."""

    def close(self, why: str) -> None:
        """Let no channel in, and end those that are open, of which their source hears ``why``; safe to repeat."""


@frozen
class Local:
    """The libvirt of this host, at ``uri``; ``base`` is where directories of sessions are made."""

    reactor: Reactor
    uri: str
    base: str

    async def ask(self, work: Callable[[Any], Any], seconds: float = LOOK_SECONDS) -> Any:
        """
        Do ``work`` with a virConnect of its own.

        :raise LibvirtError: it cannot be asked.
        """
        libvirt = await Libvirt(self.reactor, self.uri).open()
        try:
            return await libvirt.do(work, seconds)
        finally:
            libvirt.close()


class Arrival:
    """
    The arrival of ``wanted``, for the ``session`` with this ``bond`` to its source.

    ``doors`` makes its part of the tunnel, which calls :meth:`handing_over`. ``alive`` tells whether its source still answers. ``ended``
    fires with the phase in which it ended: ``prepare``, ``ram`` (while libvirt migrated it), or ``finish``, when it has arrived.
    """

    log = make_logger()

    def __init__(
        self,
        local: Local,
        kept: Kept[Begun],
        session: str,
        bond: Bond,
        wanted: Wanted,
        doors: Callable[[Arrival], Doors],
        alive: Callable[[], Awaitable[bool]],
    ) -> None:
        self.session, self.bond, self.wanted, self.alive = session, bond, wanted, alive
        self.uri = local.uri
        self.owner: tuple[int, int] | None = None  #: the user and group of its QEMU, where that is not this process's user
        self.over = False
        self.ended: Deferred[str] = Deferred()
        self._removed = self._ends = self._heard = False
        self._lock = DeferredLock()  # it may be ended while it is still being made
        self._local = local
        self._kept = kept
        self._doors = doors(self)
        maker = identity(os.getpid())
        self._begun = Begun(wanted.uuid, wanted.name, session, bond.owner, bond.proof, maker, os.path.join(local.base, session))

    def __repr__(self) -> str:
        return f"<Arrival of {self.wanted.name}, session {self.session[:8]}{' over' if self.over else ''}>"

    @property
    def arrived(self) -> bool:
        """Whether all that was made stays, as its guest runs on it, has run, or may have."""
        return self._begun.arrived

    @property
    def memory(self) -> str:
        """The path of the socket where its QEMU will take the memory."""
        return os.path.join(self._begun.directory, MEMORY)

    @property
    def disks(self) -> str:
        """The path of the socket where its QEMU will take the disks."""
        return os.path.join(self._begun.directory, DISKS)

    async def prepare(self, scene: Callable[[Any], Scene]) -> Prepared:
        """
        Make all that is needed, or nothing.

        :raise NbdtunError: it cannot be made: that which the first finding says.
        """
        async with self._lock:
            try:
                await self._local.ask(lambda virconnect: self._make(scene(virconnect)), MAKE_SECONDS)
                names = self._doors.open()
            except BaseException:
                await self._undo()
                raise
        self.log.info("{vm}: made ready for session {session}", vm=self.wanted.name, session=self.session[:8])
        return Prepared(self._begun.directory, *names, mode_of(self.uri))

    def handing_over(self) -> None:
        """
        Called before libvirt is told to let the guest run, with what follows on its connection held back.

        :raise DestinationFailed: it is being ended here, so that libvirt must not be told.
        :raise OSError: that cannot be written down, so that it must not be told either.
        """
        if self._ends:
            raise DestinationFailed(f"{self.wanted.name}: its session has ended at the destination")
        self._note(handed_over=True)
        if (noted := self._kept.read()) is not None and not noted.handed_over:
            self._kept.erase()  # nothing of it will be removed then
            if self._kept.read() is not None:
                raise OSError(f"{self._kept!r} can be neither written nor removed")

    def answered(self, *, runs: bool) -> None:
        """libvirt has answered: the guest runs here, or it does not and never will."""
        self._heard = True
        self._note(handed_over=runs, answered=runs)

    async def finish(self, arrived: bool) -> Fate:
        """
        The migration is over: keep all if it has ``arrived``, as its source says, and was handed over.

        Else its source goes on with its guest, or has none any more, and all is removed, unless it runs here.

        :raise LibvirtError: libvirt does not answer, so that all stays as it is.
        """
        return await self._end(UNNEEDED, arrived=arrived, sure=not arrived)

    async def abandon(self, why: str) -> Fate:
        """
        Its source does not say how it has ended: remove all, unless its guest may have run here; safe to repeat.

        :raise LibvirtError: libvirt does not answer, so that all stays as it is.
        """
        if not self.over:
            self.log.info("{vm}: session {session} has ended: {why}", vm=self.wanted.name, session=self.session[:8], why=why)
        return await self._end(why, arrived=False, sure=False)

    async def _end(self, why: str, *, arrived: bool, sure: bool) -> Fate:
        self._ends = True  # nothing is handed over from now on: a domain that waits can be ended
        await self._hear()
        self._doors.close(why)
        async with self._lock:
            return await self._settle(arrived=arrived, sure=sure)

    async def _hear(self) -> None:
        """libvirt was told to let the guest run: what it answers is surer than what is seen later. It is waited for, for a while."""
        reactor = self._local.reactor
        until = reactor.seconds() + SETTLE_SECONDS
        while self._begun.handed_over and not (self._heard or self.over) and reactor.seconds() < until:
            await deferLater(reactor, LOOK_AGAIN)

    async def _settle(self, *, arrived: bool, sure: bool) -> Fate:
        libvirt = await Libvirt(self._local.reactor, self.uri).open()
        try:
            if not self.over:
                reactor = self._local.reactor
                kept = arrived and self._begun.handed_over  # libvirt was told to let it run, and has not refused
                stays = Stays("it has arrived", True) if kept else await wind_up(reactor, libvirt, self._begun, sure=sure)
                self._settled(stays)
                if stays is not None and stays.has_run:
                    await self._start_with_host(libvirt)
            domain = await libvirt.do(lambda opened: Host(opened).domain(self.wanted.uuid))
            return fate(None if self._removed else self._begun, domain, self.session)
        finally:
            libvirt.close()

    async def _start_with_host(self, libvirt: Libvirt) -> None:
        """libvirt's own migration forgets that."""
        if not self.wanted.autostart:
            return
        try:
            await libvirt.do(lambda opened: opened.lookupByUUIDString(self.wanted.uuid).setAutostart(1))
        except LibvirtError as error:
            self.log.warn("{vm}: it will not be started with this host: {reason}", vm=self.wanted.name, reason=str(error))

    def _settled(self, stays: Stays | None) -> None:
        """All was removed; or it stays: then the record says whether it has arrived, or may have."""
        self.conclude("finish" if stays is not None and stays.has_run else "ram")
        self._removed = stays is None
        remove_tree(self._begun.directory)
        if stays is None:
            self._kept.erase()
            return
        self.log.info("{vm}: what was made here stays: {why}", vm=self.wanted.name, why=stays.why)
        self._note(arrived=stays.has_run, handed_over=stays.has_run, doubtful=stays.doubtful)

    def conclude(self, phase: str) -> None:
        """It is over, and has ended in ``phase``."""
        self.over = True
        if not self.ended.called:
            self.ended.callback(phase)

    def _note(self, **changes: Any) -> None:
        self._begun = evolve(self._begun, **changes)
        self._kept.write(self._begun)

    def _make(self, scene: Scene) -> None:
        """Make it all; this blocks."""
        refuse(look(scene, self.wanted))
        self.owner = _owner(scene.host, self.wanted)
        needs = read(self.wanted.xml)
        self._note(left=(needs.nvram,) if needs.nvram and not os.path.lexists(needs.nvram) else ())
        make_socket_directory(self._begun.directory, self.owner)
        for image in self.wanted.images:
            place = place_of(image, scene.pools, needs.keys)
            if isinstance(place, Finding):
                raise NotMigratable(place.what, place.remedy)
            self._make_image(image, place, scene)

    def _make_image(self, image: Any, place: Place, scene: Scene) -> None:
        def tell(made: Made, folders: tuple[str, ...]) -> None:
            others = [each for each in self._begun.images if each.path != made.path]
            known = dict.fromkeys((*self._begun.folders, *folders))
            self._note(images=(*others, made), folders=tuple(known))

        for finding in volumes.judge(image, place, self.wanted.overwrite) if os.path.lexists(place.path) else ():
            raise NotMigratable(finding.what, finding.remedy)  # it has come since
        volumes.make(image, place, scene.pools, tell)

    async def _undo(self) -> None:
        """Nothing of it can have been used."""
        self.conclude("prepare")
        self._doors.close(UNNEEDED)
        try:
            await self._local.ask(lambda opened: remove(self._begun, Pools(opened)))
        except (LibvirtError, OSError) as failure:
            self.log.error("{vm}: what was made stays: {reason}", vm=self.wanted.name, reason=str(failure), code="libvirt")
            return  # the record stays, too
        noted = self._kept.read()
        if noted is not None and noted.session == self.session:  # and not that of an earlier arrival
            self._kept.erase()


def refuse(found: Found) -> None:
    """
    End it if a finding is a failure.

    :raise NbdtunError: of the first failure's kind, with the texts of all.
    """
    failed = [finding for finding in found.findings if finding.level is Level.FAILURE]
    if failed:
        raise error_of(failed[0].code, "; ".join(map(str, failed)), NbdtunError, DestinationFailed)


def _owner(host: Host, wanted: Wanted) -> tuple[int, int] | None:
    """Who will make the sockets, if it is not this process's user."""
    owner = read(wanted.xml).owner or host.capabilities().owner
    return owner if owner is not None and os.geteuid() == 0 and owner[0] != 0 else None


def make_socket_directory(path: str, owner: tuple[int, int] | None) -> None:
    """
    Make a session's directory, for the sockets of QEMU's user.

    :raise NotMigratable: it cannot be made.
    """
    base, name = os.path.split(path)
    try:
        make_directories(base)
        with opened(base) as descriptor:
            make_within(descriptor, name, owner)
    except OSError as error:
        raise NotMigratable(f"{path} cannot be made: {error.strerror}") from None
