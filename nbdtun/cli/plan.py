"""``nbdtun plan``: what a destination would be, before anything is made."""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from nbdtun.cli.log import log_to_stderr
from nbdtun.cli.options import option
from nbdtun.cli.streams import tell
from nbdtun.config.options import CODE, CONNECT, DISK, FAR, MAKING, QMP

if TYPE_CHECKING:
    from nbdtun.config import MigrateSettings
    from nbdtun.service.planning import Planned
    from nbdtun.spawn.rewrite.answers import Answers


@click.command("plan", short_help="Plan a destination QEMU from the one that runs.")
@click.argument("vm", metavar="VM")
@option(QMP, required=True)
@option(CONNECT._replace(help="The destination: ssh://HOST, or HOST with --code. Without it: this host."), "--to", "connect")
@option(CODE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(vm: str, qmp: str, connect: str | None, as_json: bool, code: str | None, **options: Any) -> int:
    """Print the images, the directories and the command line of a destination QEMU for VM, and what its host lacks for it.

    Nothing is changed. Without --to, the destination is this host: for a copy beside the original, give other paths with --map.

    \b
    Exit status: 0  it can be made; there may be warnings
                 1  it cannot
                 2  wrong usage
               130  interrupted
    """
    from nbdtun.cli.reactor import run
    from nbdtun.config.answers import make_answers
    from nbdtun.config.names import check_name

    answers = make_answers(options)
    settings = _settings(vm, qmp, connect, code, answers, options)
    log_to_stderr(bars=True)
    from twisted.internet import reactor
    from twisted.internet.defer import Deferred

    from nbdtun.process import settle_in
    from nbdtun.service import planning
    from nbdtun.spawn.far.maker import Maker

    settle_in(reactor)

    async def work() -> planning.Planned:
        if settings is not None:
            return await planning.plan_there(reactor, settings, tell)
        drawn = await planning.draw(reactor, check_name(vm), qmp, answers)
        return await planning.examine(drawn, Maker(reactor))

    return _show(run(reactor, partial(Deferred.fromCoroutine, work())), as_json)


def _show(planned: Planned, as_json: bool) -> int:
    """Print it; returns the exit status."""
    from nbdtun.display.findings import Findings
    from nbdtun.display.plans import plan_lines

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


def _settings(
    vm: str, qmp: str, connect: str | None, code: str | None, answers: Answers, options: dict[str, Any]
) -> MigrateSettings | None:
    """The settings of a migration to the host to plan for; None for this one."""
    from nbdtun.config import MigrateSettings
    from nbdtun.config.build import far_settings
    from nbdtun.config.ssh import is_ssh
    from nbdtun.errors import ConfigError
    from nbdtun.migration.settings import MigrationSettings

    if connect is None:
        if code is not None:
            raise ConfigError("--code needs --to HOST")
        return None
    if not is_ssh(connect) and code is None:
        raise ConfigError(f"--to {connect}: a daemon makes no destination", "use ssh://HOST, or leave --to out for this host")
    far, migration = far_settings(options), MigrationSettings(vm=vm)
    return MigrateSettings(connect=connect, far=far, code=code, qmp=qmp, migration=migration, answers=answers)


for _option in reversed((DISK, *MAKING, *FAR)):
    command = option(_option)(command)
