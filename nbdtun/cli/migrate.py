"""``nbdtun migrate``: migrates a VM."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from nbdtun.cli.log import log_to_stderr
from nbdtun.cli.options import SpelledOut, migration_options, option, read_settings
from nbdtun.cli.remote import base
from nbdtun.cli.streams import tell
from nbdtun.config.capacity import WORKERS, migrations_workers, usable_cores
from nbdtun.config.options import KEEP_SOURCE, LOG_FORMAT, METRICS
from nbdtun.errors import ConfigError

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from nbdtun.config import MigrateSettings
    from nbdtun.config.libvirt import DomainSettings
    from nbdtun.migration.progress import Progress
    from nbdtun.process import Reactor
    from nbdtun.service.workers.crew import Workers

    Settings = MigrateSettings | DomainSettings

PROGRESS = "How to show progress: bar, or lines without a terminal; json: one object a line; final: the last object alone; none."


@click.command("migrate", cls=SpelledOut, short_help="Migrate a running VM.")
@migration_options
@click.option("--resolve", is_flag=True, help="After exit status 3: ask the destination again, and complete or undo the migration.")
@click.option("--recover", is_flag=True, help="After a crash: end what a killed migration has left, and begin no other.")
@option(KEEP_SOURCE)
@option(METRICS)
@option(WORKERS)
@option(LOG_FORMAT)
@click.option("--progress", type=click.Choice(["bar", "json", "final", "none"]), default="bar", show_default=True, help=PROGRESS)
@click.option("-v", "--verbose", is_flag=True, help="At the end, show the parts of the downtime too.")
def command(progress: str, verbose: bool, resolve: bool, recover: bool, log_format: str, workers: int | None, **options: Any) -> int:
    """Migrate a running VM to a QEMU that is waiting for it at the destination, or that is made there.

    VM is its name at the destination's daemon (nbdtun dest --vm VM=SOCKET). Start the waiting QEMU with -S -incoming defer and
    the same devices. With --to ssh://HOST or --code, where none waits, it is made from the source's: see nbdtun plan.

    \b
    Exit status: 0  VM runs at the destination
                 1  the migration failed; VM is still running on the source
                 2  wrong usage
                 3  outcome unknown; VM is paused on the source: use --resolve
                 4  VM has run at the destination and was lost there; it is paused on the source
               130  interrupted; VM is still running on the source

    When the terminal is closed, the migration goes on: nbdtun status shows it, and where its messages go.
    """
    from nbdtun.cli.attend import attend
    from nbdtun.cli.detached import Terminal, open_log
    from nbdtun.display import make_display
    from nbdtun.logs import about

    if resolve and recover:
        raise ConfigError("--resolve and --recover are two ways to end a migration: give one of them")
    settings = read_settings(**options)
    vm = settings.migration.vm
    terminal = Terminal(lambda: open_log(vm, base(settings.tunnel.run_dir)))
    display = make_display(progress, vm, verbose=verbose)
    log_to_stderr(bars=progress == "bar", form=log_format)
    from twisted.internet import reactor

    from nbdtun import service
    from nbdtun.process import settle_in

    settle_in(reactor)
    work = service.resolve if resolve else service.recover if recover else partial(service.migrate, workers=_hands(settings, workers))
    start = _measured(reactor, settings, partial(_told(work), reactor, settings, log=lambda: terminal.where, say=tell))
    quiet = progress == "none"
    detached = partial(make_display, "none" if quiet else "log", vm, verbose=verbose)
    with about(vm=vm):
        return attend(reactor, start, display, terminal, detached, vm if quiet else "")


def _hands(settings: Settings, given: int | None) -> Workers | None:
    """The processes that carry the channels, besides this one."""
    from nbdtun.daemon import worker

    count = migrations_workers(given, usable_cores(), through_ssh=settings.far.through_ssh)
    return worker.workers("nbdtun-migrate", count, asked=given is not None)


def _measured(reactor: Reactor, settings: Settings, start: Callable[..., Deferred[Progress]]) -> Callable[..., Deferred[Progress]]:
    """Serve metrics meanwhile, if they are wanted."""
    if not settings.tunnel.metrics:
        return start
    from nbdtun.metrics.service import measured

    return partial(measured, reactor, settings, start)


def _told(work: Callable[..., Deferred[Progress]]) -> Callable[..., Deferred[Progress]]:
    """Tell a service manager, too: its service is ready when the disks are copied, and stops with a rollback."""
    from nbdtun.daemon.notify import Manager
    from nbdtun.display.lines import line
    from nbdtun.migration.progress import Phase

    manager = Manager.of(os.environ)
    latest: list[Progress] = []

    def tell(reactor: Reactor, vm: str, report: Callable[[Progress], None], progress: Progress) -> None:
        def words() -> str:
            return f"{vm}: {line(latest[-1], vm)}"

        latest[:] = [progress]
        if progress.phase is Phase.ROLLBACK or progress.phase.final:
            manager.stopping(words)
        elif progress.phase is not Phase.PREPARE:
            manager.ready(reactor, words)
        report(progress)

    def begin(reactor: Reactor, settings: Settings, report: Callable[[Progress], None], **others: Any) -> Deferred[Progress]:
        return work(reactor, settings, partial(tell, reactor, settings.migration.vm, report), **others)

    return begin
