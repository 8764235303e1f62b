"""The check of a migration: of a QEMU's, or of a VM of libvirt's."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from nbdtun.config import MigrateSettings
from nbdtun.config.libvirt import DomainSettings
from nbdtun.migration.check.checklist import Checklist
from nbdtun.migration.check.report import Report
from nbdtun.migration.finding import Finding
from nbdtun.process import Reactor
from nbdtun.service.checks import preflight
from nbdtun.service.libvirt import checks


def check(
    reactor: Reactor,
    settings: MigrateSettings | DomainSettings,
    report: Callable[[Finding], None] = lambda finding: None,
    *,
    measure: bool = True,
) -> Deferred[Report]:
    """
    Check whether a migration with these settings would work; nothing is changed. See :func:`nbdtun.service.checks.preflight.check`.

    For a VM of libvirt's there is no forecast, and ``measure`` fills the tunnel alone.
    """
    if isinstance(settings, DomainSettings):
        return Deferred.fromCoroutine(checks.check(reactor, settings, Checklist(report), measure=measure))
    return preflight.check(reactor, settings, report, measure=measure)
