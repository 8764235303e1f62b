"""``nbdtun check --libvirt``: whether a VM of libvirt's can be migrated, asked of both libvirts through the tunnel that it would use."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred

from nbdtun.config.libvirt import DomainSettings
from nbdtun.deferreds import shield
from nbdtun.libvirt.connection import Libvirt
from nbdtun.libvirt.near.departure import examine, known_again
from nbdtun.libvirt.near.obstacles import obstacles
from nbdtun.libvirt.near.session import FarSession
from nbdtun.libvirt.near.survey import Survey
from nbdtun.migration.catalogue import DESTINATION, SOURCE, THROUGHPUT, TUNNEL
from nbdtun.migration.check.checklist import Checklist, Once
from nbdtun.migration.check.preflight import answered, list_speed
from nbdtun.migration.check.report import Measured, Report
from nbdtun.migration.finding import Check, Level
from nbdtun.migration.ids import new_session
from nbdtun.process import Reactor
from nbdtun.service.checks.preflight import check_own_sockets, check_tls, reach
from nbdtun.service.control.socket import refuse_second
from nbdtun.service.libvirt.migration import SETTLE, name_of, plan_of
from nbdtun.service.libvirt.way import TunnelWay
from nbdtun.service.local.rundir import RunDir
from nbdtun.spawn.near.nonces import Nonces
from nbdtun.tunnel.source.client import Source
from nbdtun.units import size_text


class Near:
    """
    The VM of a libvirt on this host, for checks with one destination after the other: the first one reads it, the others are told the same.

    ``settings`` are those for any of the destinations.
    """

    def __init__(self, reactor: Reactor, settings: DomainSettings) -> None:
        self._reactor = reactor
        self._settings = settings
        self._libvirt = Libvirt(reactor, settings.uri)
        self._here = Once(self._read)

    def __repr__(self) -> str:
        return f"<Near {self._settings.migration.vm} of {self._settings.uri}>"

    async def check(self, settings: DomainSettings, checklist: Checklist, *, measure: bool) -> Report:
        """
        Check it with the destination of ``settings``; nothing is changed. ``measure`` also fills the tunnel for two seconds.

        A problem is a finding, not an error.
        """
        reached, source = await reach(self._reactor, settings, settings.migration.vm, checklist)
        try:
            if source is not None:
                check_tls(checklist, settings)
            found: Survey | None = None
            with checklist.collecting(SOURCE):
                found = await self._here.into(checklist)
            return await _Visit(self._reactor, settings, checklist, source).run(found, measure)
        finally:

            async def end() -> None:
                if source is not None:
                    await source.drain(SETTLE)
                    await source.stop()
                if reached is not None:
                    await reached.acknowledge(settled=False)
                    await reached.close()

            await shield(Deferred.fromCoroutine(end()), lambda: None)

    async def _read(self, checklist: Checklist) -> Survey:
        settings = self._settings
        if check_own_sockets(checklist, RunDir(settings.tunnel.run_dir, settings.tunnel.socket_owner)):
            refuse_second(settings.tunnel.run_dir, name_of(settings))
        await self._libvirt.open()
        found = await examine(self._libvirt, plan_of(settings))
        obstacles(checklist, found, plan_of(settings).state, keep=settings.migration.keep_source)
        disks = ", ".join(f"{image.target} ({size_text(image.capacity)})" for image in found.images)
        checklist.ok(Check.SOURCE, f"libvirt has it, with {size_text(found.memory)} of memory; disks to copy: {disks or 'none'}")
        return found

    async def close(self) -> None:
        """Leave its libvirt."""
        self._libvirt.close()


class _Visit:
    """The part of one check that is the destination's, as far as there is a ``source``."""

    def __init__(self, reactor: Reactor, settings: DomainSettings, checklist: Checklist, source: Source | None) -> None:
        self._reactor = reactor
        self._settings = settings
        self._list = checklist
        self._source = source
        self._rundir = RunDir(settings.tunnel.run_dir, settings.tunnel.socket_owner)
        self._measured = Measured()

    async def run(self, found: Survey | None, measure: bool) -> Report:
        """Ask its libvirt, and measure the tunnel if nothing is in the way."""
        if self._source is not None:
            await self._ask(TunnelWay(self._reactor, self._source, self._rundir), found, measure)
        vm, told = self._settings.migration.vm, self._list
        return Report(vm, told.level, tuple(told.findings), self._measured, spaces=told.spaces)

    async def _ask(self, way: TunnelWay, found: Survey | None, measure: bool) -> None:
        session = FarSession(self._reactor, way, new_session(), b"", self._settings.migration.steps)
        with self._list.collecting(TUNNEL):
            await session.open()
            trip = await session.ping()
            self._measured = evolve(self._measured, round_trip=trip)
            self._list.ok(Check.TUNNEL, answered(self._settings.peer_name, trip))
            with self._list.collecting(DESTINATION), Nonces() as nonces:
                if found is not None:
                    told = found.wanted(known_again(found, nonces), overwrite=self._settings.answers.overwrite)
                    answer = await session.look(told)
                    self._list.spaces = answer.spaces
                    for finding in answer.findings:
                        self._list.add(finding)
        session.close()
        if measure and self._list.level is not Level.FAILURE:
            with self._list.collecting(THROUGHPUT):
                speed = await way.throughput()
                self._measured = evolve(self._measured, throughput=speed.rate)
                list_speed(self._list, speed, self._measured.round_trip)
