"""``nbdtun status``: shows the running migrations and daemons."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nbdtun.cli.remote import RUN_DIR, asked, base, running

if TYPE_CHECKING:
    from nbdtun.process import Reactor

#: Seconds between two looks.
LOOK = 1.0


@click.command("status", short_help="Show running migrations and daemons.")
@click.argument("vm", metavar="[VM|SOCKET|@PID]", required=False, shell_complete=running)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.option("--watch", is_flag=True, help="Look again each second, until Ctrl-C, or until the one that is named has ended.")
@RUN_DIR
def command(vm: str | None, as_json: bool, watch: bool, run_dir: str | None) -> None:
    """Show this user's running migrations and daemons, or one: the migration of VM or of the QMP socket SOCKET, or the daemon @PID.

    A destination's daemon shows what arrives, from whom and how far, and the VMs that may arrive; a source's daemon its forwards.
    """
    there = base(run_dir)
    if not watch:
        for line in asked(lambda reactor: _lines(reactor, there, vm, as_json)):
            click.echo(line)
        return
    try:
        asked(lambda reactor: _watch(reactor, there, vm, as_json))
    except KeyboardInterrupt:
        return


def _print(lines: list[str]) -> None:
    print(*lines, sep="\n", flush=True)


async def _lines(reactor: Reactor, there: Path, vm: str | None, as_json: bool) -> list[str]:
    from nbdtun.display.reports import lines_of
    from nbdtun.service.control.client import ask, nothing, reports

    found: list[dict[str, Any]] = await reports(reactor, there) if vm is None else [await ask(reactor, there, vm)]
    if as_json:
        return [json.dumps(report) for report in found]
    known = Counter(report["name"] for report in found)
    lines = [line for report in found for line in lines_of(report, by_monitor=known[report["name"]] > 1)]
    return lines or [nothing(there)]


async def _watch(reactor: Reactor, there: Path, vm: str | None, as_json: bool) -> None:
    """Show it again and again; the end of the one that is named, once it was seen, is no error."""
    from twisted.internet.task import deferLater

    from nbdtun.display.watched import Watched
    from nbdtun.errors import ConfigError

    watched, seen = Watched(sys.stdout), False
    show = _print if as_json else watched.show
    try:
        while True:
            try:
                show(await _lines(reactor, there, vm, as_json))
            except ConfigError:
                if seen:
                    return
                raise
            seen = True
            await deferLater(reactor, LOOK)
    finally:
        watched.close()
