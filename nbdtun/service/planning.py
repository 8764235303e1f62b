"""A destination, planned with its far end, and made there: ``nbdtun plan``, and a migration to a host where no QEMU waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from attrs import evolve, frozen
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from nbdtun.config import MigrateSettings
from nbdtun.deferreds import shield
from nbdtun.migration.finding import Finding, Level
from nbdtun.migration.qmp.monitor import Monitor
from nbdtun.process import Reactor
from nbdtun.service.tunnel.far import Far, far_of
from nbdtun.service.tunnel.reached import Say, Step
from nbdtun.spawn.command.hidden import hidden
from nbdtun.spawn.far.maker import refuse
from nbdtun.spawn.near.measure import measured
from nbdtun.spawn.near.nonces import Nonces
from nbdtun.spawn.near.survey import survey
from nbdtun.spawn.rewrite.answers import Answers
from nbdtun.spawn.rewrite.plan import plan
from nbdtun.spawn.values import Found, Plan
from nbdtun.spawn.wire import Json, found_of, to_json
from nbdtun.units import size_text


class FarMaker(Protocol):
    """The far end, which looks at plans and makes them; :class:`nbdtun.spawn.far.maker.Maker` is one in this process."""

    async def look(self, wanted: Json) -> Json:
        """Look at a plan."""

    async def make(self, plan: Json) -> str:
        """Make a plan; returns the path of the monitor."""


@frozen
class Planned:
    """A plan, and what the far end has found of it."""

    plan: Plan
    found: Found

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings: of the command line first, then of the far end."""
        return (*self.plan.findings, *self.found.findings)

    @property
    def fit(self) -> bool:
        """Whether it can be made."""
        return all(finding.level is not Level.FAILURE for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """The object that ``nbdtun plan --json`` prints."""
        shown = hidden(self.plan.arguments)
        told = to_json(evolve(self.plan, emulator=self.found.emulator or self.plan.emulator, arguments=shown))
        told |= {"fit": self.fit, "release": self.found.release, "directories": list(self.found.missing)}
        return told | {"findings": [finding.as_json() for finding in self.findings]}


async def draw(reactor: Reactor, vm: str, qmp: str, answers: Answers) -> Plan:
    """
    Plan a destination for the VM behind the socket ``qmp``; nothing is changed. Large media take time.

    :raise NbdtunError: QEMU cannot be asked, or its command line is not known.
    """
    monitor = Monitor(reactor, qmp, vm)
    await monitor.connect()
    try:
        return await draw_from(monitor, answers)
    finally:
        await monitor.close()


async def draw_from(monitor: Monitor, answers: Answers) -> Plan:
    """
    The same, by a monitor that is connected already.

    :raise NbdtunError: QEMU cannot be asked, or its command line is not known.
    """
    source = await survey(monitor)
    made: Plan = await deferToThread(lambda: measured(plan(source, answers)))
    return made


async def examine(drawn: Plan, far: FarMaker) -> Planned:
    """
    Let the far end look at a plan; nothing is changed.

    :raise NbdtunError: it cannot.
    """
    with _marked(drawn) as marked:
        return Planned(drawn, found_of(await far.look(to_json(marked))))


async def make(drawn: Plan, far: FarMaker) -> str:
    """
    Let the far end make a plan; returns the path of the monitor of the QEMU that waits there.

    :raise NbdtunError: it cannot be made, and nothing is left.
    """
    refuse(Found(findings=drawn.findings))
    with _marked(drawn) as marked:
        return await far.make(to_json(marked))


async def plan_there(reactor: Reactor, settings: MigrateSettings, say: Say) -> Planned:
    """
    Plan the destination that a migration with these settings would make, by ssh or a code; nothing is changed.

    :raise NbdtunError: the host cannot be reached, or QEMU cannot be asked.
    """
    reached = far_of(reactor, settings, settings.migration.vm, say)
    assert reached is not None
    try:
        await reached.open()
        return await examine(await draw(reactor, settings.migration.vm, settings.qmp, settings.answers), reached.far)
    finally:
        await shield(Deferred.fromCoroutine(reached.acknowledge(settled=False)), lambda: None)
        await reached.close()


def needs_making(settings: MigrateSettings, reached: Far) -> bool:
    """Whether no QEMU waits at the far end."""
    return not reached.waits and not settings.far.qmp


async def make_with(reactor: Reactor, settings: MigrateSettings, reached: Far, say: Say) -> None:
    """
    Make the destination of a migration.

    :raise NbdtunError: it cannot be made, and nothing is left.
    """
    vm = settings.migration.vm
    say(Step(f"{vm}: planning its destination"))
    drawn = await draw(reactor, vm, settings.qmp, settings.answers)
    count, size = len(drawn.images), size_text(sum(image.size for image in drawn.images))
    disks = f"{count} disk{'s' * (count != 1)} of {size}"
    say(Step(f"{vm}: making {disks}, and starting QEMU there"))
    qmp = await make(drawn, reached.far)
    say(f"{vm}: made its destination, {disks}, monitor {qmp}")


@contextmanager
def _marked(drawn: Plan) -> Iterator[Plan]:
    """The plan with nonces beside the source's images, for as long as the far end looks for them."""
    with Nonces() as nonces:
        yield nonces.place(drawn)
