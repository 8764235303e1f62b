"""``nbdtun reload``: lets a running daemon read its configuration file again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nbdtun.cli.remote import RUN_DIR, asked, base, daemons
from nbdtun.errors import ConfigError, printable

if TYPE_CHECKING:
    from pathlib import Path


@click.command("reload", short_help="Let a daemon read its configuration file again.")
@click.argument("daemon", metavar="[@PID]", required=False, shell_complete=daemons)
@RUN_DIR
def command(daemon: str | None, run_dir: str | None) -> None:
    """Let the daemon with process id PID read its configuration file again; without PID, the one that runs. SIGHUP does the same.

    It takes other targets, VMs, forwards, allow-lists, limits and certificates, without touching channels and migrations. It says what it
    took, and what needs a restart. If the file has a mistake, nothing changes.

    \b
    Exit status: 0  what could be taken was taken
                 1  nothing was
                 2  there is no such daemon
    """
    from nbdtun.service.control.client import ask
    from nbdtun.service.control.commands import Reload

    there = base(run_dir)
    whom = daemon or _only(there)
    click.echo(_account(asked(lambda reactor: ask(reactor, there, whom, Reload))))


def _only(there: Path) -> str:
    """The daemon that runs."""
    from nbdtun.service.control.client import nothing
    from nbdtun.service.control.socket import names

    found = [name.text for name in names(there) if not name.vm]
    if len(found) > 1:
        raise ConfigError(f"{len(found)} daemons of this user are running here", f"name one: {', '.join(found)}")
    if not found:
        raise ConfigError(nothing(there))
    return found[0]


def _account(report: dict[str, Any]) -> str:
    taken, left = report["taken"], report["left"]
    parts = [f"took {', '.join(taken)}"] if taken else ["took no changes"]
    parts += [f"{', '.join(left)}: restart it to change that"] if left else []
    return printable(f"{report['name']} (pid {report['pid']}): {report['file']}: {'; '.join(parts)}")
