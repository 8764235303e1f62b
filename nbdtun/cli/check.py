"""``nbdtun check``: the pre-flight of a migration."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import click

from nbdtun.cli.log import log_to_stderr
from nbdtun.cli.options import SpelledOut, migration_options, read_settings


@click.command("check", cls=SpelledOut, short_help="Check whether a VM can be migrated.")
@migration_options
@click.option("--no-measure", is_flag=True, help="Skip the measurements: two seconds of tunnel throughput, and one of guest memory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end.")
def command(no_measure: bool, as_json: bool, **options: Any) -> int:
    """Check whether VM can be migrated, and estimate how long it would take. Nothing is changed.

    It takes the options of migrate, which runs the same checks before it starts.

    \b
    Exit status: 0  it can be migrated; there may be warnings
                 1  it cannot
                 2  wrong usage: an option, a file or a certificate cannot be used
               130  interrupted
    """
    from nbdtun.cli.reactor import run
    from nbdtun.display.findings import Findings
    from nbdtun.errors import ConfigError
    from nbdtun.migration.finding import Level

    settings = read_settings(**options)
    log_to_stderr(bars=True)
    from twisted.internet import reactor

    from nbdtun import service
    from nbdtun.process import settle_in

    settle_in(reactor)
    shown = Findings(sys.stdout)
    listen = (lambda finding: None) if as_json else shown.show
    report = run(reactor, partial(service.check, reactor, settings, listen, measure=not no_measure))
    if as_json:
        click.echo(json.dumps(report.as_json(), allow_nan=False))
    else:
        shown.conclude(report)
    failed = [finding for finding in report.findings if finding.level is Level.FAILURE]
    return 0 if not failed else 2 if failed[0].code == ConfigError.code else 1  # as migrate, which ends with the first one's error
