"""``nbdtun plan``: what a destination would be, before anything is made."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any

import click

from nbdtun.cli.log import log_to_stderr
from nbdtun.cli.options import option
from nbdtun.config.options import MAKING, QMP


@click.command("plan", short_help="Plan a destination QEMU from the one that runs.")
@click.argument("vm", metavar="VM")
@option(QMP, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(vm: str, qmp: str, as_json: bool, **options: Any) -> int:
    """Print the images, the directories and the command line of a destination QEMU for VM, and what this host lacks for it.

    Nothing is changed. The destination is this host: for a copy beside the original, give other paths with --map.

    \b
    Exit status: 0  it can be made; there may be warnings
                 1  it cannot
                 2  wrong usage
               130  interrupted
    """
    from nbdtun.cli.reactor import run
    from nbdtun.config.answers import make_answers
    from nbdtun.config.values import check_name
    from nbdtun.display.findings import Findings
    from nbdtun.display.plans import plan_lines

    answers = make_answers(options)
    log_to_stderr(bars=True)
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from nbdtun.process import settle_in
    from nbdtun.service import planning
    from nbdtun.spawn.far.maker import Maker

    settle_in(reactor)

    async def work() -> planning.Planned:
        drawn = await planning.draw(reactor, check_name(vm), qmp, answers)
        return await planning.examine(drawn, Maker(reactor))

    planned = run(reactor, partial(Deferred.fromCoroutine, work()))
    if as_json:
        click.echo(json.dumps(planned.as_json(), allow_nan=False))
        return 0 if planned.fit else 1
    plan, found = planned.plan, planned.found
    for line in plan_lines(plan, found.emulator or plan.emulator, found.missing):
        click.echo(line)
    shown = Findings(sys.stdout)
    for finding in planned.findings:
        shown.show(finding)
    return 0 if planned.fit else 1


for _option in reversed(MAKING):
    command = option(_option)(command)
