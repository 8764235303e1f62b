"""The check of a migration: of a QEMU's, or of a VM of libvirt's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from nbdtun.config import MigrateSettings
from nbdtun.config.libvirt import DomainSettings
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.report import Report
from nbdtun.migration.finding import Finding
from nbdtun.process import Reactor
from nbdtun.service.checks import preflight
from nbdtun.service.libvirt import checks


class Near(Protocol):
    """A VM of this host, for checks with one destination after the other: it is read once."""

    async def check(self, settings: Any, checklist: Checklist, *, measure: bool) -> Report:
        """Check it with the destination of ``settings``; see :func:`check`."""

    async def close(self) -> None:
        """Leave it."""


def near_of(reactor: Reactor, settings: MigrateSettings | DomainSettings) -> Near:
    """The VM of ``settings``, which are those for any of its destinations."""
    return checks.Near(reactor, settings) if isinstance(settings, DomainSettings) else preflight.Near(reactor, settings)


def check(
    reactor: Reactor,
    settings: MigrateSettings | DomainSettings,
    report: Callable[[Finding], None] = lambda finding: None,
    *,
    measure: bool = True,
) -> Deferred[Report]:
    """
    Check whether a migration with these settings would work, and how long it would take; nothing is changed.

    ``report`` is called with each finding. ``measure`` also fills the tunnel for two seconds, and has QEMU sample for one second how fast
    the guest changes its memory. The Deferred fires with the whole report; a problem is a finding, not an error.

    For a VM of libvirt's there is no forecast, and ``measure`` fills the tunnel alone.
    """

    async def work() -> Report:
        near = near_of(reactor, settings)
        try:
            return await near.check(settings, Checklist(report), measure=measure)
        finally:
            await near.close()

    return Deferred.fromCoroutine(work())
