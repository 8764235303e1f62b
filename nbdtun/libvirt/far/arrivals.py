"""
The domains that arrive at this host, one arrival for each at a time, and what earlier ones have left.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from attrs import evolve
from twisted.internet.defer import DeferredLock
from twisted.internet.task import deferLater

from nbdtun.errors import DestinationFailed, NbdtunError, NotAllowed, NotMigratable, ShuttingDown
from nbdtun.kept import Kept
from nbdtun.libvirt.connection import Libvirt
from nbdtun.libvirt.far.admission import Rules
from nbdtun.libvirt.far.arrival import Arrival, Doors, Local
from nbdtun.libvirt.far.look import Scene, look
from nbdtun.libvirt.far.outcome import doubt, fate
from nbdtun.libvirt.far.record import Begun, record, recorded
from nbdtun.libvirt.far.remains import LOOK_AGAIN, SETTLE_SECONDS, wind_up
from nbdtun.libvirt.findings import KEPT, LEFT, THERE
from nbdtun.libvirt.host import Domain, Host
from nbdtun.libvirt.pools import Pools
from nbdtun.libvirt.values import Fate, Found, Prepared, Wanted
from nbdtun.logs import make_logger
from nbdtun.migration.bond import Bond, Claim
from nbdtun.migration.capacity import Capacity
from nbdtun.migration.finding import Finding
from nbdtun.migration.rollback.presence import identity, lives
from nbdtun.migration.tally import Tally
from nbdtun.ownership.directories import remove_tree
from nbdtun.process import Reactor

#: Where directories of sessions are made, which the source's host makes under the same name: root's, and where every user can make one.
BASE, COMMON = "/run/nbdtun/libvirt", "/tmp"

_BUSY: Final = "{} is already being migrated to this destination by another session"

#: Seconds in which another process removes what a killed one has left.
REMOVING: Final = SETTLE_SECONDS + 5.0

#: Ended arrivals that are remembered: their sources may ask again.
_REMEMBERED: Final = 64


def base_of_sessions() -> str:
    """The directory where those of sessions are made."""
    return BASE if os.geteuid() == 0 else COMMON


class Arrivals:
    """
    What arrives at the libvirt of ``uri``. Records are in the directory ``state``; ``doors`` makes an arrival's part of the tunnel.
    ``tally`` counts how they ended.
    """

    log = make_logger()

    def __init__(self, reactor: Reactor, uri: str, state: Path, doors: Callable[[Arrival], Doors], rules: Rules | None = None) -> None:
        self.reactor = reactor
        self.tally = Tally()
        self._local = Local(reactor, uri, base_of_sessions())
        self._records = state
        self._doors = doors
        self.rules = rules or Rules()
        self.capacity = Capacity()
        self._known: dict[str, Arrival] = {}
        self._closed = False
        self._lock = DeferredLock()  # two transient pools in one directory would be in each other's way

    def __repr__(self) -> str:
        return f"<Arrivals at {self._local.uri}: {len(self.under_way)} of {len(self._known)} under way>"

    def __contains__(self, session: object) -> bool:
        """Whether it knows that session."""
        return session in self._known

    @property
    def under_way(self) -> list[Arrival]:
        """Those that are not over."""
        return [each for each in self._known.values() if not each.over]

    @property
    def latest(self) -> Arrival | None:
        """The one that was begun last; None if there was none."""
        return next(reversed(self._known.values()), None)

    async def look(self, wanted: Wanted) -> Found:
        """
        What is in the way of a domain; nothing is changed.

        :raise LibvirtError: libvirt cannot be asked.
        """
        kept = self._kept(wanted.uuid)
        under_way = self._of(wanted.uuid)
        if under_way is not None and await under_way.alive():
            return Found((THERE(_BUSY.format(wanted.name), "wait for the end of that one"),))
        await self._let_others(kept)
        found: Found = await self._local.ask(lambda opened: self._look(opened, wanted, kept.read()))
        return found

    async def begin(self, session: str, bond: Bond, wanted: Wanted, alive: Callable[[], Awaitable[bool]]) -> tuple[Arrival, Prepared]:
        """
        Make ready for a domain; ``alive`` tells later whether its source still answers.

        :raise NbdtunError: it cannot be made, and nothing is left of it.
        """
        if self._closed:
            raise ShuttingDown(f"{wanted.name}: the destination's daemon is shutting down", "migrate it when the daemon has been restarted")
        kept = self._kept(wanted.uuid)
        if session in self._known:
            raise NotMigratable(f"{wanted.name}: session {session[:8]} already exists")
        await self._displace(wanted)
        self.capacity.admit(wanted.name, len(self.under_way))
        self._known[session] = arrival = Arrival(self._local, kept, session, bond, wanted, self._doors, alive)
        arrival.ended.addCallback(self._count, self.reactor.seconds())
        try:
            async with self._lock:
                await self._clear(kept, Claim(frozenset({bond.owner})))
                return arrival, await arrival.prepare(self._scene)
        except BaseException:
            arrival.conclude("prepare")
            del self._known[session]
            raise
        finally:
            self._forget()

    def session(self, session: str, claim: Claim) -> Arrival:
        """
        The arrival of that session, for the source that began it.

        :raise DestinationFailed: there is none, or none any more.
        """
        found = self._known.get(session)
        if found is None or not found.bond.admits(claim):
            raise DestinationFailed("the destination does not know this session; its daemon has been restarted")
        return found

    async def outcome(
        self, uuid: str, session: str | None, claim: Claim, end: bool, may: Callable[[str], object] = lambda name: None
    ) -> Fate:
        """
        What became of a domain; ``end``: first end what waits for a guest of this source, and remove what was made for it. A ``session``
        that another one of the domain has replaced has ended, and the other one goes on: a source may have been killed, and be back.

        ``may`` is called with the domain's name, and raises NotAllowed where the source has no right to it.

        :raise NotAllowed: it has none, or another source's guest is waited for.
        :raise LibvirtError: libvirt cannot be asked.
        """
        kept = self._kept(uuid)
        domain: Domain | None = await self._local.ask(lambda opened: Host(opened).domain(uuid))
        for named in (domain, kept.read()):
            if named is not None:
                may(named.name)
        under_way = self._of(uuid)
        if end and (under_way is None or session in (None, under_way.session)):
            if under_way is not None:
                if not under_way.bond.is_of(claim):
                    raise NotAllowed(f"{under_way.wanted.name} is being migrated there by another source")
                await under_way.abandon("its source asks for the outcome")
            async with self._lock:
                await self._clear(kept, claim)
            domain = await self._local.ask(lambda opened: Host(opened).domain(uuid))
        begun = kept.read()
        return fate(begun if begun is not None and begun.bond.is_of(claim) else None, domain, session)

    async def state_of(self, vm: str) -> str:
        """
        The run state of the domain ``vm``, as QEMU names it; empty if it has no QEMU here.

        :raise LibvirtError: libvirt cannot be asked.
        """
        domain: Domain | None = await self._local.ask(lambda opened: Host(opened).namesake(vm))
        return "" if domain is None else domain.run_state

    async def sweep(self, maker: str = "") -> None:
        """
        At the start of a daemon, or at the end of one that was killed, remove the leftovers of killed ones; of that ``maker``, if given.
        Those that cannot be removed are logged, and stay for the next attempt.
        """
        for uuid in recorded(self._records):
            kept = self._kept(uuid)
            try:
                left = kept.read()
                if left is None or left.arrived or self._of(uuid) is not None or (maker and left.maker != maker):
                    continue
                if not _is_others(left):
                    kept.write(evolve(left, maker=identity(os.getpid())))
                async with self._lock:
                    await self._clear(kept, Claim(frozenset({left.owner})))
            except NbdtunError as error:
                self.log.warn("{reason}", reason=str(error), code=error.code)

    def close(self) -> None:
        """Begin nothing more; what is under way goes on."""
        self._closed = True

    async def stop(self, why: str) -> None:
        """Begin nothing more, and end what is under way."""
        self._closed = True
        for each in self.under_way:
            try:
                await each.abandon(why)
            except NbdtunError as error:
                self.log.error("{vm}: {reason}", vm=each.wanted.name, reason=str(error), code=error.code)

    def _count(self, phase: str, began: float) -> None:
        self.tally.end("completed" if phase == "finish" else "failed", phase, self.reactor.seconds() - began)

    def _kept(self, uuid: str) -> Kept[Begun]:
        return record(self._records, uuid)

    def _of(self, uuid: str) -> Arrival | None:
        return next((each for each in self.under_way if each.wanted.uuid == uuid), None)

    def _scene(self, opened: Any) -> Scene:
        return Scene(Host(opened), Pools(opened), self.rules)

    def _look(self, opened: Any, wanted: Wanted, left: Begun | None) -> Found:
        """Look at a domain, and at what was ``left``, which :meth:`_clear` would remove."""
        scene = self._scene(opened)
        finding = None
        if left is not None and not left.arrived:
            finding = self._judge_left(left, scene.host.domain(wanted.uuid))
            if finding.level is LEFT.level:
                scene = evolve(scene, ours=frozenset((left.directory, *(each.path for each in left.images), *left.left)))
        found = look(scene, wanted)
        return found if finding is None else evolve(found, findings=(finding, *found.findings))

    def _judge_left(self, left: Begun, domain: Domain | None) -> Finding:
        why = "another nbdtun works on it" if _is_others(left) else doubt(left, domain)
        if why:
            return KEPT(f"{left.name}: an earlier migration to the destination has left what it made there, which stays, as {why}")
        return LEFT(f"{left.name}: an earlier migration to the destination was broken, and has left what it made there")

    async def _displace(self, wanted: Wanted) -> None:
        """End the arrival of a killed source: it would block a new one."""
        earlier = self._of(wanted.uuid)
        if earlier is not None and not await earlier.alive():
            await earlier.abandon("its source did not answer, and a new migration replaces it")
        if (earlier := self._of(wanted.uuid)) is not None:
            raise NotMigratable(_BUSY.format(wanted.name))

    async def _clear(self, kept: Kept[Begun], claim: Claim) -> None:
        """
        Remove what was left.

        :raise NotMigratable: a guest may have run on it.
        :raise NotAllowed: it waits for another source's guest.
        """
        await self._let_others(kept)
        left = kept.read()
        if left is None or left.arrived:
            return
        if _is_others(left):
            raise NotMigratable(str(self._judge_left(left, None)))
        libvirt = await Libvirt(self.reactor, self._local.uri).open()
        try:
            domain = await libvirt.do(lambda opened: Host(opened).domain(left.uuid))
            if domain is not None and domain.arrives and not left.bond.is_of(claim):
                raise NotAllowed(f"{left.name} waits there for a guest that another source has sent")
            stays = await wind_up(self.reactor, libvirt, left)
        finally:
            libvirt.close()
        if stays is None:
            kept.erase()
            self.log.info("{vm}: removed what an earlier migration had made", vm=left.name)
        elif stays.has_run:
            remove_tree(left.directory)
            kept.write(evolve(left, arrived=True, doubtful=stays.doubtful))
        else:
            raise NotMigratable(KEPT(f"{left.name}: {stays.why}").what, KEPT.remedy)

    async def _let_others(self, kept: Kept[Begun]) -> None:
        """Another process may be removing it: that which stands by a daemon that was killed, or the next daemon. It is given the time."""
        until = self.reactor.seconds() + REMOVING
        while (left := kept.read()) is not None and _is_others(left) and self.reactor.seconds() < until:
            await deferLater(self.reactor, LOOK_AGAIN)

    def _forget(self) -> None:
        over = [session for session, each in self._known.items() if each.over]
        for session in over[: max(0, len(over) - _REMEMBERED)]:
            del self._known[session]


def _is_others(left: Begun) -> bool:
    """Whether another process that lives works on it."""
    return left.maker != identity(os.getpid()) and lives(left.maker)
