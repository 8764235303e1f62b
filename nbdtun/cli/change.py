"""
``nbdtun set``: changes the limits of a running migration or daemon, says when a migration may switch over, and which VMs a destination
serves.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from nbdtun.cli.options import ANY_RATE, DURATION, MOMENT, option
from nbdtun.cli.remote import RUN_DIR, asked, base, running
from nbdtun.config.options import VM
from nbdtun.errors import ConfigError, printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nbdtun.config import VM as NamedVM
    from nbdtun.config import VMPattern
    from nbdtun.process import Reactor


@click.command("set", short_help="Change a running migration or daemon.")
@click.argument("vm", metavar="VM|SOCKET|@PID", shell_complete=running)
@click.option("--bandwidth", type=ANY_RATE, help="New limit, such as 500MiB or 100Mbit/s. none: no limit.")
@click.option("--downtime", type=DURATION, help="New guest downtime that QEMU aims for.")
@click.option("--switchover", type=MOMENT, help="When a migration may switch over: now, or a time such as 02:00.")
@option(VM, "--vm", "add")
@click.option(
    "--remove-vm",
    "remove",
    metavar="NAME",
    multiple=True,
    help="Stop receiving the VM of this name or pattern. Repeatable.",
)
@RUN_DIR
def command(
    vm: str,
    bandwidth: int | None,
    downtime: float | None,
    switchover: float | None,
    add: tuple[NamedVM | VMPattern, ...],
    remove: tuple[str, ...],
    run_dir: str | None,
) -> None:
    """Change the limits of the running migration of VM, or of the QMP socket SOCKET, or of the daemon with process id PID.

    --switchover lets a migration go on that is held, or holds it until that time.

    --vm and --remove-vm are for a destination's daemon. Migrations under way go on. The change lasts until the daemon ends.
    """
    milliseconds = None if downtime is None else round(downtime * 1000)
    moment = None if switchover is None else round(switchover)
    given = (("bandwidth", bandwidth), ("downtime", milliseconds), ("switchover", moment))
    limits = {name: value for name, value in given if value is not None}
    if not (limits or add or remove):
        raise ConfigError("nothing to set: give --bandwidth, --downtime, --switchover, --vm or --remove-vm")
    for line in asked(lambda reactor: _change(reactor, base(run_dir), vm, limits, add, remove)):
        click.echo(line)


async def _change(
    reactor: Reactor, there: Path, whom: str, limits: dict[str, int], add: Sequence[NamedVM | VMPattern], remove: Sequence[str]
) -> list[str]:
    """Ask for both; return the lines that say what holds then."""
    from nbdtun.display.reports import sentence
    from nbdtun.service.control.client import ask
    from nbdtun.service.control.commands import ChangedVMs, Serve, Set
    from nbdtun.typed import as_json

    lines = []
    if limits:
        changed: dict[str, Any] = await ask(reactor, there, whom, Set, **limits)
        changed.pop("uptime", None)  # it has nothing to do with that
        lines += [sentence(changed), *map(printable, changed.get("missed", []))]
    if add or remove:
        vms = ChangedVMs(tuple(map(_absolute, add)), tuple(remove))
        report: dict[str, Any] = await ask(reactor, there, whom, Serve, vms=as_json(vms))
        lines.append(printable(f"{report['name']} (pid {report['pid']}): serves {', '.join(report['serves']) or 'no VM'}"))
        lines += map(printable, report.get("missed", []))
    return lines


def _absolute(vm: NamedVM | VMPattern) -> str:
    """As the daemon reads it, whose directory is another one."""
    from nbdtun.config import VMPattern

    return f"{vm.names}={vm.qmp}" if isinstance(vm, VMPattern) else f"{vm.name}={os.path.abspath(vm.qmp)}"
