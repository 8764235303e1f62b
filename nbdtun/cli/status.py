"""``nbdtun status``: shows the running migrations and daemons."""

from __future__ import annotations

import json
from collections import Counter

import click

from nbdtun.cli.remote import RUN_DIR, asked, base, running


@click.command("status", short_help="Show running migrations and daemons.")
@click.argument("vm", metavar="[VM|SOCKET|@PID]", required=False, shell_complete=running)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@RUN_DIR
def command(vm: str | None, as_json: bool, run_dir: str | None) -> None:
    """Show this user's running migrations and daemons, or one: the migration of VM or of the QMP socket SOCKET, or the daemon @PID.

    A destination's daemon shows what arrives, from whom and how far, and the VMs that may arrive; a source's daemon its forwards.
    """
    from nbdtun.display.reports import lines_of
    from nbdtun.service.control.client import ask, nothing, reports

    there = base(run_dir)
    found = asked(lambda reactor: reports(reactor, there)) if vm is None else [asked(lambda reactor: ask(reactor, there, vm))]
    known = Counter(report["name"] for report in found)
    for report in found:
        click.echo(json.dumps(report) if as_json else "\n".join(lines_of(report, by_monitor=known[report["name"]] > 1)))
    if not found and not as_json:
        click.echo(nothing(there))
