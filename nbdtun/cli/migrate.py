"""``nbdtun migrate``: one migration, attended."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from nbdtun.cli.log import log_to_stderr
from nbdtun.cli.options import migration_options, read_settings


@click.command("migrate")
@migration_options
@click.option("--resolve", is_flag=True, help="After an exit status of 3: ask the destination again, and end it one way or the other.")
@click.option("--keep-source", is_flag=True, help="Leave the source QEMU there, paused, instead of ending it.")
@click.option("--progress", type=click.Choice(["bar", "json", "none"]), default="bar", show_default=True, help="How to show progress.")
def command(progress: str, resolve: bool, **options: Any) -> int:
    """Move VM, which runs here, to the QEMU that waits for it at the destination.

    VM is the name under which the destination's daemon knows it (twistd nbdtun-dest --vm VM=SOCKET). That QEMU was started with -S
    -incoming defer and the same devices.

    \b
    Exit status: 0  it runs at the destination
                 1  it failed, and runs on at the source as before
                 2  wrong usage
                 3  it is paused at the source, and the destination cannot be asked
               130  interrupted, and runs on at the source as before
    """
    from nbdtun.cli.attend import attend
    from nbdtun.display import make_display

    settings = read_settings(**options)
    display = make_display(progress, settings.migration.vm)
    log_to_stderr(bars=progress == "bar")
    from twisted.internet import reactor

    from nbdtun import service
    from nbdtun.process import steady

    steady(reactor)
    return attend(reactor, partial(service.resolve if resolve else service.migrate, reactor, settings), display)
