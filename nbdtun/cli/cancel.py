"""``nbdtun cancel``: cancels a running migration."""

from __future__ import annotations

import click

from nbdtun.cli.remote import RUN_DIR, asked, base, migrations


@click.command("cancel", short_help="Cancel a running migration.")
@click.argument("vm", metavar="VM|SOCKET|@PID", shell_complete=migrations)
@RUN_DIR
def command(vm: str, run_dir: str | None) -> int:
    """Cancel the running migration of VM, or of the QMP socket SOCKET, as Ctrl-C does, and wait until it is rolled back; or the
    evacuation with process id PID, with all of its migrations.

    \b
    Exit status: 0  rolled back; VM is still running on the source
                 1  too late, or the rollback was incomplete
                 2  wrong usage, or there is no such migration
    """
    from nbdtun.display.reports import sentence
    from nbdtun.display.words import outcome
    from nbdtun.errors import printable
    from nbdtun.migration.progress import Phase, Progress
    from nbdtun.service.control.client import ask
    from nbdtun.service.control.commands import Cancel

    report = asked(lambda reactor: ask(reactor, base(run_dir), vm, Cancel))
    if "states" in report:
        click.echo(sentence(report))
        return int(bool(set(report["states"]) & {"unknown", "lost"}))
    final = Progress.from_json(report.get("progress", {}))
    detail = f" ({final.error})" if final.error not in (None, "cancelled") else ""
    click.echo(printable(f"{report.get('name', vm)} {outcome(final)}{detail}"))
    return 0 if final.phase in (Phase.CANCELLED, Phase.FAILED) else 1
