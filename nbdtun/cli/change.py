"""``nbdtun set``: changes the limits of a running migration or daemon, and says when a migration may switch over."""

from __future__ import annotations

import click

from nbdtun.cli.options import ANY_RATE, DURATION, MOMENT
from nbdtun.cli.remote import RUN_DIR, asked, base, running
from nbdtun.errors import ConfigError


@click.command("set", short_help="Change the limits of a migration or daemon, or let it switch over.")
@click.argument("vm", metavar="VM|SOCKET|@PID", shell_complete=running)
@click.option("--bandwidth", type=ANY_RATE, help="New limit, such as 500MiB or 100Mbit/s. none: no limit.")
@click.option("--downtime", type=DURATION, help="New guest downtime that QEMU aims for.")
@click.option("--switchover", type=MOMENT, help="When a migration may switch over: now, or a time such as 02:00.")
@RUN_DIR
def command(vm: str, bandwidth: int | None, downtime: float | None, switchover: float | None, run_dir: str | None) -> None:
    """Change the limits of the running migration of VM, or of the QMP socket SOCKET, or of the daemon with process id PID.

    --switchover lets a migration go on that is held, or holds it until that time.
    """
    from nbdtun.display.reports import sentence
    from nbdtun.service.control.client import ask
    from nbdtun.service.control.socket import Set

    milliseconds = None if downtime is None else round(downtime * 1000)
    moment = None if switchover is None else round(switchover)
    given = (("bandwidth", bandwidth), ("downtime", milliseconds), ("switchover", moment))
    wanted = {name: value for name, value in given if value is not None}
    if not wanted:
        raise ConfigError("nothing to set: give --bandwidth, --downtime or --switchover")
    click.echo(sentence(asked(lambda reactor: ask(reactor, base(run_dir), vm, Set, **wanted))))
