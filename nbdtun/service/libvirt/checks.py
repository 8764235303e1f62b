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
from nbdtun.migration.check.checklist import Checklist
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


async def check(reactor: Reactor, settings: DomainSettings, checklist: Checklist, *, measure: bool) -> Report:
    """
    Check it; nothing is changed. ``measure`` also fills the tunnel for two seconds.

    A problem is a finding, not an error.
    """
    reached, source = await reach(reactor, settings, settings.migration.vm, checklist)
    libvirt = Libvirt(reactor, settings.uri)
    try:
        return await _Visit(reactor, settings, checklist, libvirt, source).run(measure)
    finally:

        async def end() -> None:
            libvirt.close()
            if source is not None:
                await source.drain(SETTLE)
                await source.stop()
            if reached is not None:
                await reached.acknowledge(settled=False)
                await reached.close()

        await shield(Deferred.fromCoroutine(end()), lambda: None)


class _Visit:
    """One check, as far as there is a ``source``."""

    def __init__(self, reactor: Reactor, settings: DomainSettings, checklist: Checklist, libvirt: Libvirt, source: Source | None) -> None:
        self._reactor = reactor
        self._settings = settings
        self._list = checklist
        self._libvirt = libvirt
        self._source = source
        self._rundir = RunDir(settings.tunnel.run_dir, settings.tunnel.socket_owner)
        self._measured = Measured()

    async def run(self, measure: bool) -> Report:
        """Ask both libvirts, and measure the tunnel if nothing is in the way."""
        found: Survey | None = None
        if self._source is not None:
            check_tls(self._list, self._settings)
        usable = check_own_sockets(self._list, self._rundir)
        with self._list.collecting(SOURCE):
            if usable:
                refuse_second(self._settings.tunnel.run_dir, name_of(self._settings))
            await self._libvirt.open()
            found = await examine(self._libvirt, plan_of(self._settings))
            self._describe(found)
        if self._source is not None:
            await self._ask(TunnelWay(self._reactor, self._source, self._rundir), found, measure)
        vm, told = self._settings.migration.vm, self._list
        return Report(vm, told.level, tuple(told.findings), self._measured, spaces=told.spaces)

    def _describe(self, found: Survey) -> None:
        obstacles(self._list, found, plan_of(self._settings).state, keep=self._settings.migration.keep_source)
        disks = ", ".join(f"{image.target} ({size_text(image.capacity)})" for image in found.images)
        self._list.ok(Check.SOURCE, f"libvirt has it, with {size_text(found.memory)} of memory; disks to copy: {disks or 'none'}")

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
